//! Sends what exporters give it with this process's one HTTP stack, on its runtime.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

/// How long a collector may take for one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Exporters wait in threads of their own, where no runtime is: requests are made on the one that is given here.
pub(super) struct Sender {
    http: reqwest::Client,
    runtime: Handle,
}

impl Sender {
    /// Sends on the runtime that this is called in.
    pub fn new() -> Result<Self, reqwest::Error> {
        Ok(Sender {
            http: reqwest::Client::builder().timeout(TIMEOUT).build()?,
            runtime: Handle::current(),
        })
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Sender {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let sending = self.runtime.spawn(send(self.http.clone(), request));
        Box::pin(async move { Ok(sending.await??) })
    }
}

async fn send(
    http: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, reqwest::Error> {
    let (head, body) = request.into_parts();
    let answer = http
        .request(head.method, head.uri.to_string())
        .headers(head.headers)
        .body(body)
        .send()
        .await
        .map_err(reqwest::Error::without_url)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(answer.bytes().await?);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}
