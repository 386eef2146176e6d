//! The little that the tests need of JavaScript, in pages and Node alike: `fetch`, timers, and where the control is.

use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// What the runner writes before the address into the user agent of a browser.
const MARK: &str = "reflow-test-control=";

/// The address of the runner's control: in Node's environment, or in the browser's user agent.
pub(crate) fn control() -> String {
    let global = js_sys::global();
    let in_environment = path(&global, &["process", "env", "REFLOW_TEST_CONTROL"]).and_then(|value| value.as_string());
    let in_agent = || Some(path(&global, &["navigator", "userAgent"])?.as_string()?.strip_prefix(MARK)?.to_owned());
    in_environment.or_else(in_agent).expect("run by wasm-test-runner, which says where its control is")
}

/// Sends a request without a body and gives what came back.
pub(crate) async fn fetch(method: &str, url: &str) -> Result<String, String> {
    let options = js_sys::Object::new();
    set(&options, "method", &method.into());
    let response = settled(&call("fetch", &url.into(), &options)).await?;
    let text = method_of(&response, "text").call0(&response).map_err(|error| format!("{error:?}"))?;
    let text = settled(&text).await?.as_string().unwrap_or_default();
    match Reflect::get(&response, &"ok".into()) {
        Ok(ok) if ok.is_truthy() => Ok(text),
        _ => Err(format!("{method} {url}: {text}")),
    }
}

/// Sleeps.
pub(crate) async fn sleep(ms: i32) {
    let fires = Promise::new(&mut |resolve, _| drop(call("setTimeout", &resolve, &ms.into())));
    let _ = JsFuture::from(fires).await;
}

async fn settled(promise: &JsValue) -> Result<JsValue, String> {
    JsFuture::from(Promise::resolve(promise)).await.map_err(|error| format!("{error:?}"))
}

fn path(from: &JsValue, names: &[&str]) -> Option<JsValue> {
    let mut at = from.clone();
    for name in names {
        at = Reflect::get(&at, &(*name).into()).ok().filter(|value| !value.is_undefined() && !value.is_null())?;
    }
    Some(at)
}

fn set(object: &JsValue, name: &str, value: &JsValue) {
    Reflect::set(object, &name.into(), value).expect("a plain object takes what it is given");
}

fn method_of(object: &JsValue, name: &str) -> Function {
    Reflect::get(object, &name.into()).expect("an object").unchecked_into()
}

fn call(name: &str, first: &JsValue, second: &JsValue) -> JsValue {
    let global = js_sys::global();
    method_of(&global, name).call2(&global, first, second).expect("it throws nothing at once")
}
