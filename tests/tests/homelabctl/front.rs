//! The API server with its way to Services, which it refuses for endpoints on loopback: the path of the coordinator's page is
//! answered by the coordinator, every other request by the API server.

use std::path::{Path, PathBuf};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use tests::harness::{ControlPlane, WorkDir};
use tokio::{net::TcpListener, task::AbortHandle};

use super::{Context, Result};

/// Where a cluster shows the page of our Service.
const PAGE: &str =
    "/api/v1/namespaces/homelab-autoscaler-system/services/homelab-coordinator:admin/proxy/state";

/// A listener before the API server; ends when it is dropped.
pub(crate) struct Front {
    kubeconfig: PathBuf,
    task: AbortHandle,
    _work: WorkDir,
}

#[derive(Clone)]
struct Behind {
    cluster: kube::Client,
    page: String,
}

impl Front {
    /// Before this API server, with the coordinator's pages at `admin`.
    pub(crate) async fn start(plane: &ControlPlane, admin: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let behind = Behind {
            cluster: plane.client().await?,
            page: format!("http://{admin}/state"),
        };
        let router = Router::new().fallback(answer).with_state(behind);
        let task = tokio::spawn(async move { axum::serve(listener, router).await });
        let work = WorkDir::new("front")?;
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: front\nclusters:\n- name: front\n  cluster: {{server: \"http://{address}\"}}\n\
             contexts:\n- name: front\n  context: {{cluster: front, user: nobody}}\nusers:\n- name: nobody\n  user: {{}}\n"
        );
        Ok(Self {
            kubeconfig: work.write("kubeconfig", text)?,
            task: task.abort_handle(),
            _work: work,
        })
    }

    /// For programs that take a file.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(behind): State<Behind>, method: Method, uri: Uri, body: Bytes) -> Response {
    let text = if uri.path() == PAGE {
        page(&behind.page).await
    } else {
        ask(&behind.cluster, method, &uri, body).await
    };
    match text {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

async fn page(url: &str) -> Result<String> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    Ok(client.get(url).send().await?.text().await?)
}

async fn ask(cluster: &kube::Client, method: Method, uri: &Uri, body: Bytes) -> Result<String> {
    let request = http::Request::builder().method(method).uri(uri.to_string());
    let request = request.header(CONTENT_TYPE, "application/json");
    let answer = cluster.request_text(request.body(body.to_vec())?).await;
    answer.with_context(|| format!("ask for {uri}"))
}
