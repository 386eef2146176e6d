//! A real `reflow-tracing` on the machine that runs the browser, by the runner's control.

use serde_json::Value;

use crate::javascript::{control, fetch};

/// A server with a store of its own; it ends with the test run.
#[derive(Debug)]
pub struct Server {
    base: String,
    /// Its address.
    pub url: String,
    /// The same through a proxy that can cut a connection before an ack arrives.
    pub cuttable_url: String,
    /// The same as a server shows itself that does not know protocol v2.
    pub v1_url: String,
}

impl Server {
    /// Starts one.
    ///
    /// # Panics
    /// With the reason, when it cannot be started; so do all methods.
    pub async fn start() -> Self {
        let control = control();
        let described = request("POST", &format!("{control}/servers")).await;
        let text = |name: &str| described[name].as_str().expect("an address").to_owned();
        Self {
            base: format!("{control}/servers/{}", described["id"]),
            url: text("url"),
            cuttable_url: text("cuttable_url"),
            v1_url: text("v1_url"),
        }
    }

    /// `kill -9`.
    pub async fn kill(&self) {
        request("POST", &format!("{}/kill", self.base)).await;
    }

    /// Starts it again, on the same port and store.
    pub async fn restart(&self) {
        request("POST", &format!("{}/restart", self.base)).await;
    }

    /// Holds back the next ack that goes through `cuttable_url`.
    pub async fn hold_acks(&self) {
        request("POST", &format!("{}/hold-acks", self.base)).await;
    }

    /// Waits until an ack was held back, and cuts its connection.
    pub async fn cut(&self) {
        request("POST", &format!("{}/cut", self.base)).await;
    }

    /// The trace as history has it, asked by another client than ours; null when there is none.
    pub async fn trace(&self, trace_id: &str) -> Value {
        request("GET", &format!("{}/trace?id={trace_id}", self.base)).await
    }

    /// One of the server's own figures, summed over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let value = request("GET", &format!("{}/metric?name={name}", self.base)).await;
        value.as_f64().unwrap_or_else(|| panic!("there is no metric {name}"))
    }
}

async fn request(method: &str, url: &str) -> Value {
    let answer = fetch(method, url).await.unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error} in {answer}"))
}
