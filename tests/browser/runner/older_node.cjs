// What the client needs and Node 18, that of Debian 12, does not have by itself: a WebSocket, and the random numbers of browsers.
'use strict';

// Debian's package node-undici, on which its Node 18 depends. By its path: a Node from elsewhere does not look there.
globalThis.WebSocket ??= require('/usr/share/nodejs/undici').WebSocket;
if (!globalThis.crypto) {
    Object.defineProperty(globalThis, 'crypto', { value: require('node:crypto').webcrypto });
}
