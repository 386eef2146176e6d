//! The example page, opened in a headless Chromium as a user would: fill in, press the button, look.
//!
//! `REFLOW_TEST_PAGE` names the page's compiled code; `tests/browser/wasm.sh test` sets it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reflow_tracing_browser_runner::chromium;
use reflow_tracing_tests::process::Spec;
use reflow_tracing_tests::{Port, Process, Service, answers, eventually, patience};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

const INDEX: &str = include_str!("../../../../examples/tracing_integration/web/index.html");

/// The page's folder as a web server shows it, a browser, and a tracing server.
struct Scene {
    page_url: String,
    service: Service,
    browser: Client,
    _driver: Process,
    _folders: [TempDir; 2],
}

impl Scene {
    async fn start() -> Result<Self> {
        let (page, log) = (tempfile::tempdir()?, tempfile::tempdir()?);
        std::fs::write(page.path().join("index.html"), INDEX)?;
        bind(page.path())?;
        let page_url = serve(page.path()).await?;
        let service = Service::standalone().start().await?;
        let port = Port::reserve()?;
        let driver = Spec::new(chromium::driver()?, log.path())
            .arg(format!("--port={}", port.number()))
            .env("TMPDIR", log.path()); // where it leaves the browser's profile
        let driver = Process::spawn(&driver)?;
        eventually(patience(), || async { Ok(TcpStream::connect(("127.0.0.1", port.number())).await?) }).await?;
        let Value::Object(capabilities) = chromium::capabilities(&[]) else { bail!("capabilities are an object") };
        let browser = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{}", port.number()))
            .await
            .context("chromium does not start")?;
        Ok(Self { page_url, service, browser, _driver: driver, _folders: [page, log] })
    }

    async fn open(&self, server: &str) -> Result<()> {
        let url = format!("{}?server={server}", self.page_url);
        self.browser.goto(&url).await?;
        self.status("ready").await.map(|_| ())
    }

    async fn press(&self) -> Result<()> {
        Ok(self.browser.find(Locator::Id("run")).await?.click().await?)
    }

    /// Waits until the page says that it is in this state, and gives its words.
    async fn status(&self, state: &str) -> Result<String> {
        eventually(patience(), || async {
            let status = self.browser.find(Locator::Id("status")).await?;
            let (now, text) = (status.attr("data-state").await?, status.text().await?);
            ensure!(now.as_deref() == Some(state), "the page is in state {now:?} and says: {text}");
            Ok(text)
        })
        .await
    }

    async fn text(&self, selector: &str) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        for element in self.browser.find_all(Locator::Css(selector)).await? {
            texts.push(element.text().await?);
        }
        Ok(texts)
    }
}

#[tokio::test]
async fn a_page_records_a_trace_and_reads_it_back() -> Result<()> {
    let scene = Scene::start().await?;
    let outcome = record_and_read_back(&scene).await;
    // Also after a failure: the driver alone would leave its browser behind.
    scene.browser.clone().close().await?;
    outcome
}

async fn record_and_read_back(scene: &Scene) -> Result<()> {
    scene.open(&scene.service.url()).await?;
    scene.press().await?;
    let said = scene.status("done").await?;
    ensure!(said == "The sum is 385. The server has 26 events.", "the page says: {said}");
    ensure!(scene.text("#events tr").await?.len() == 26, "not every event is shown");

    let trace_id = scene.text("#trace").await?.concat();
    let mut client = scene.service.connect().await?;
    let answer = client.ask(&json!({ "GetTrace": { "trace_id": trace_id } })).await?;
    let trace = answers::trace(&answer)?.context("the server has no such trace")?;
    ensure!(trace["flow_id"] == "traced_page" && trace["status"] == "Completed", "{trace:.300}");
    ensure!(answers::events(trace)?.len() == 26, "the server has other events");
    Ok(())
}

#[tokio::test]
async fn a_page_whose_server_is_away_says_so() -> Result<()> {
    let scene = Scene::start().await?;
    let outcome = server_away(&scene).await;
    scene.browser.clone().close().await?;
    outcome
}

async fn server_away(scene: &Scene) -> Result<()> {
    let nobody = Port::reserve()?;
    scene.open(&format!("ws://127.0.0.1:{}/", nobody.number())).await?;
    scene.press().await?;
    let said = scene.status("error").await?;
    ensure!(said.contains("cannot connect"), "the page says: {said}");
    Ok(())
}

/// Makes the JavaScript beside the compiled code, as the README's `wasm-bindgen` does.
fn bind(page: &Path) -> Result<()> {
    let code = std::env::var_os("REFLOW_TEST_PAGE").map(PathBuf::from);
    let code =
        code.context("REFLOW_TEST_PAGE does not say where the page's code is: run tests/browser/wasm.sh test")?;
    let folder = page.join("pkg");
    let arguments =
        [Path::new("wasm-bindgen"), Path::new("--target"), Path::new("web"), Path::new("--out-dir"), &folder, &code];
    wasm_bindgen_cli::wasm_bindgen::run_cli_with_args(arguments)
}

/// Shows the folder on a free port.
async fn serve(folder: &Path) -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen")?;
    let url = format!("http://{}/", listener.local_addr()?);
    let router = Router::new().fallback(file).with_state(Arc::from(folder));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

async fn file(State(folder): State<Arc<Path>>, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let kind = match path.rsplit_once('.') {
        Some((_, "html")) => "text/html",
        Some((_, "js")) => "text/javascript",
        Some((_, "wasm")) => "application/wasm",
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    match std::fs::read(folder.join(path)) {
        Ok(content) => ([(header::CONTENT_TYPE, kind)], content).into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}
