//! Gets at the tracing client that a network has made for itself.
//!
//! A network keeps its client to itself, but hands it to each actor's process. A [`Tapped`] actor is another actor in every way and
//! keeps that client, so that the program can tell the trace's id, and wait until everything is delivered before it ends.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use reflow_actor::{Actor, ActorBehavior, ActorConfig, Port};
use reflow_tracing_protocol::client::{TracingClient, TracingIntegration};

/// The client, once the network has started.
#[derive(Clone, Default)]
pub struct Tap(Arc<OnceLock<Arc<TracingClient>>>);

/// An actor, tapped.
pub struct Tapped {
    actor: Arc<dyn Actor>,
    tap: Tap,
}

impl Tap {
    /// The same actor, tapped.
    pub fn on(&self, actor: impl Actor) -> Tapped {
        Tapped { actor: Arc::new(actor), tap: self.clone() }
    }

    /// The client; `None` before the network has started, or when it is not traced.
    pub fn client(&self) -> Option<Arc<TracingClient>> {
        self.0.get().cloned()
    }
}

impl Actor for Tapped {
    fn create_process(
        &self,
        config: ActorConfig,
        tracing: Option<TracingIntegration>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if let Some(tracing) = &tracing {
            // All actors of a network get the same one.
            let _ = self.tap.0.set(tracing.client());
        }
        self.actor.create_process(config, tracing)
    }

    fn create_instance(&self) -> Arc<dyn Actor> {
        Arc::new(Self { actor: self.actor.create_instance(), tap: self.tap.clone() })
    }

    fn get_behavior(&self) -> ActorBehavior {
        self.actor.get_behavior()
    }

    fn get_inports(&self) -> Port {
        self.actor.get_inports()
    }

    fn get_outports(&self) -> Port {
        self.actor.get_outports()
    }

    fn inport_names(&self) -> Vec<String> {
        self.actor.inport_names()
    }

    fn outport_names(&self) -> Vec<String> {
        self.actor.outport_names()
    }

    fn port_delivery(&self) -> HashMap<String, String> {
        self.actor.port_delivery()
    }
}
