//! One HTTP request to a BMC and its whole answer.
//! In: a [`Link`], for POST a body. Out: a [`Reply`] of any status, or a fault where no whole answer came.
//! Holds: no proxy, no kept connection, no automatic retry; at most one redirect and only to the same origin; an answer has
//! at most 4 MiB and one deadline; one request at a time for each BMC.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, LOCATION,
    RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Method, Response};
use serde_json::Value;

use crate::fault::{Effect, Fault, FaultKind};

use super::address::{BmcAddress, Link};
use super::gate::Gate;
use super::{BmcOptions, Credentials, json, message, retry_after};

/// More than any resource of a system needs; a BMC that sends more is broken or hostile.
const MAX_BODY: usize = 4 << 20;
/// Standard header that some BMCs insist on.
const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");

/// An answer of a BMC.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Duration,
    pub(super) body: Vec<u8>,
}

/// What is asked.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    /// Reads.
    Get,
    /// Acts; the condition is sent as If-Match.
    Post {
        body: &'a Value,
        if_match: Option<&'static str>,
    },
}

/// Whether to say who we are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Anonymous,
    Known,
}

/// The way to one BMC.
pub(super) struct Client {
    http: reqwest::Client,
    address: BmcAddress,
    credentials: Option<Credentials>,
    request_timeout: Duration,
    gate: Arc<Gate>,
}

impl Client {
    pub(super) fn new(options: BmcOptions, gate: Arc<Gate>) -> Result<Self, Fault> {
        let tls = options.trust.client_config(options.address.is_https())?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // A proxy from the environment would be handed the credentials.
            .no_proxy()
            // Redirects are followed by hand, on the same origin only.
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            // BMCs stumble over connections that stay open.
            .pool_max_idle_per_host(0)
            .connect_timeout(options.connect_timeout)
            .user_agent("homelab-autoscaler")
            .build()
            .map_err(|fault| Fault::new(FaultKind::InvalidConfig, root_cause(&fault)))?;
        Ok(Self {
            http,
            address: options.address,
            credentials: options.credentials,
            request_timeout: options.request_timeout,
            gate,
        })
    }

    pub(super) fn address(&self) -> &BmcAddress {
        &self.address
    }

    pub(super) fn username(&self) -> &str {
        self.credentials
            .as_ref()
            .map_or("nobody", Credentials::username)
    }

    /// Reads a resource that must be there and be an object.
    pub(super) async fn object(&self, link: &Link, who: Who) -> Result<Value, Fault> {
        let reply = self.exchange(link, Ask::Get, who).await?;
        if reply.status != 200 {
            return Err(message::fault(self, &reply, Effect::None));
        }
        json::object(&reply.body).map_err(|why| {
            let detail = format!(
                "BMC {} answered {} with nonsense: {why}",
                self.address,
                link.path()
            );
            Fault::new(FaultKind::Protocol, detail)
        })
    }

    /// One request; a redirect on the same origin and a 406 are each answered once by asking again.
    pub(super) async fn exchange(
        &self,
        link: &Link,
        ask: Ask<'_>,
        who: Who,
    ) -> Result<Reply, Fault> {
        let mut link = link.clone();
        let mut identity = true;
        let mut redirected = false;
        loop {
            let (reply, location) = self.once(&link, ask, who, identity).await?;
            match reply.status {
                406 if identity => identity = false,
                307 | 308 if !redirected => {
                    let target = location.ok_or_else(|| self.protocol("redirects to nowhere"))?;
                    link = self.address.link(&target)?;
                    redirected = true;
                }
                300..=399 => return Err(self.protocol(&format!("redirects with {}", reply.status))),
                _ => return Ok(reply),
            }
        }
    }

    async fn once(
        &self,
        link: &Link,
        ask: Ask<'_>,
        who: Who,
        identity: bool,
    ) -> Result<(Reply, Option<String>), Fault> {
        let effect = ask.effect();
        let request = self.request(link, ask, who, identity);
        // The semaphore is never closed.
        let _turn = self.gate.requests.acquire().await.ok();
        let work = async {
            let response = request
                .send()
                .await
                .map_err(|fault| self.transport(&fault, effect))?;
            self.receive(response, effect).await
        };
        tokio::time::timeout(self.request_timeout, work)
            .await
            .unwrap_or_else(|_| {
                let detail = format!(
                    "BMC {} did not answer {ask} {} within {:?}",
                    self.address,
                    link.path(),
                    self.request_timeout
                );
                Err(with_effect(Fault::new(FaultKind::Timeout, detail), effect))
            })
    }

    fn request(
        &self,
        link: &Link,
        ask: Ask<'_>,
        who: Who,
        identity: bool,
    ) -> reqwest::RequestBuilder {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ODATA_VERSION, HeaderValue::from_static("4.0"));
        if identity {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let mut request = match ask {
            Ask::Get => self.http.request(Method::GET, link.url()),
            Ask::Post { body, if_match } => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                if let Some(condition) = if_match {
                    headers.insert(IF_MATCH, HeaderValue::from_static(condition));
                }
                self.http
                    .request(Method::POST, link.url())
                    .body(body.to_string())
            }
        };
        request = request.headers(headers);
        match &self.credentials {
            // The header is marked sensitive by reqwest, so it is not shown in debug output.
            Some(credentials) if who == Who::Known => {
                request.basic_auth(credentials.username(), Some(credentials.password()))
            }
            Some(_) | None => request,
        }
    }

    async fn receive(
        &self,
        mut response: Response,
        effect: Effect,
    ) -> Result<(Reply, Option<String>), Fault> {
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let retry_after = retry_after::parse(header(RETRY_AFTER), SystemTime::now());
        let location = header(LOCATION).map(str::to_owned);
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|fault| self.transport(&fault, effect))?
        {
            if body.len() + chunk.len() > MAX_BODY {
                let fault = self.protocol(&format!("sent more than {MAX_BODY} bytes"));
                return Err(with_effect(fault, effect));
            }
            body.extend_from_slice(&chunk);
        }
        let reply = Reply {
            status,
            retry_after,
            body,
        };
        Ok((reply, location))
    }

    fn protocol(&self, what: &str) -> Fault {
        Fault::new(
            FaultKind::Protocol,
            format_args!("BMC {} {what}", self.address),
        )
    }

    /// Sorts a failure below HTTP. Before the connection stands nothing can have happened.
    fn transport(&self, fault: &reqwest::Error, effect: Effect) -> Fault {
        let cause = root_cause(fault);
        let address = &self.address;
        if let Some(tls) = tls_error(fault) {
            let trust = matches!(
                tls,
                rustls::Error::InvalidCertificate(_) | rustls::Error::General(_)
            );
            return if trust {
                let detail = format!("BMC {address} is not trusted: {}", plain(&tls.to_string()));
                Fault::new(FaultKind::TlsTrust, detail)
            } else {
                let detail = format!(
                    "BMC {address} speaks no TLS that is accepted: {tls}; one that knows only TLS 1.0 or RSA key \
                     exchange needs a TLS proxy in front"
                );
                with_effect(
                    Fault::new(FaultKind::Protocol, detail),
                    effect_unless(fault.is_connect(), effect),
                )
            };
        }
        let (kind, effect) = if fault.is_connect() {
            (FaultKind::Unreachable, Effect::None)
        } else {
            (FaultKind::Transient, effect)
        };
        with_effect(
            Fault::new(kind, format_args!("BMC {address}: {cause}")),
            effect,
        )
    }
}

impl Ask<'_> {
    fn effect(self) -> Effect {
        match self {
            Ask::Get => Effect::None,
            Ask::Post { .. } => Effect::Possible,
        }
    }
}

impl fmt::Display for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ask::Get => "GET",
            Ask::Post { .. } => "POST",
        })
    }
}

pub(super) fn with_effect(fault: Fault, effect: Effect) -> Fault {
    match effect {
        Effect::None => fault,
        Effect::Possible => fault.with_possible_effect(),
    }
}

fn effect_unless(harmless: bool, effect: Effect) -> Effect {
    if harmless { Effect::None } else { effect }
}

/// rustls puts this before errors of our own verifier.
fn plain(text: &str) -> &str {
    text.strip_prefix("unexpected error: ").unwrap_or(text)
}

/// The innermost source, which is what went wrong; the outer ones only say that a request failed.
fn root_cause(fault: &reqwest::Error) -> String {
    let mut cause: &dyn Error = fault;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn tls_error(fault: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = fault.source();
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // An I/O error hides what it wraps from `source`.
        let inside = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = match inside {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
