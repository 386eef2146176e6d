//! Browsers and Node: the platform's own WebSocket.
