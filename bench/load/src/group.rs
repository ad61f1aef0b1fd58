//! One client group with one client: connects, asks, reads pokes.

use base64::Engine as _;
use futures_util::{SinkExt as _, StreamExt as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::error::LoadError;
use crate::poke::{self, Kind};
use crate::target::{Query, Target, client_schema};

/// The protocol version of the current npm release.
const VERSION: u32 = 51;

pub struct Group {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub cookie: Option<String>,
    /// Texts of the poke that is arriving; kept here so that a reader that gives up loses none.
    arriving: Poke,
}

/// Texts of a poke.
pub type Poke = Vec<Utf8Bytes>;

impl Group {
    /// A new group that wants `queries`, or a known one at its cookie.
    pub async fn connect(
        target: &Target,
        name: &str,
        cookie: Option<String>,
        queries: &[Query],
    ) -> Result<Group, LoadError> {
        let mut body =
            json!({ "desiredQueriesPatch": queries.iter().map(Query::put).collect::<Vec<_>>() });
        if cookie.is_none() {
            body["clientSchema"] = client_schema();
        }
        let header = json!({ "initConnectionMessage": ["initConnection", body] }).to_string();
        let header = base64::engine::general_purpose::STANDARD.encode(header);
        let url = format!(
            "{}/sync/v{VERSION}/connect?clientID={name}c&clientGroupID={name}&baseCookie={}&ts=1&lmid=0&wsid={name}",
            target.server,
            cookie
                .as_deref()
                .map(|it| utf8_percent_encode(it, NON_ALPHANUMERIC).to_string())
                .unwrap_or_default(),
        );
        let mut request = url.into_client_request()?;
        let header =
            HeaderValue::from_str(&utf8_percent_encode(&header, NON_ALPHANUMERIC).to_string())
                .map_err(|it| LoadError::Message(it.to_string()))?;
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", header);
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0)
            .max_message_size(None)
            .max_frame_size(None);
        let (socket, _) = connect_async_with_config(request, Some(config), true).await?;
        Ok(Group {
            socket,
            cookie,
            arriving: Poke::new(),
        })
    }

    pub async fn send(&mut self, message: Value) -> Result<(), LoadError> {
        Ok(self.socket.send(Message::text(message.to_string())).await?)
    }

    pub async fn want(&mut self, patch: Vec<Value>) -> Result<(), LoadError> {
        self.send(json!(["changeDesiredQueries", { "desiredQueriesPatch": patch }]))
            .await
    }

    async fn text(&mut self) -> Result<Utf8Bytes, LoadError> {
        loop {
            match self.socket.next().await.ok_or(LoadError::Closed)?? {
                Message::Text(text) => return Ok(text),
                Message::Close(_) => return Err(LoadError::Closed),
                _ => {}
            }
        }
    }

    /// The next whole poke.
    pub async fn poke(&mut self) -> Result<Poke, LoadError> {
        loop {
            let text = self.text().await?;
            match poke::kind(&text) {
                Kind::Start => self.arriving = vec![text],
                Kind::Part => self.arriving.push(text),
                Kind::End if poke::is_cancelled(&text) => self.arriving.clear(),
                Kind::End => {
                    self.cookie = poke::cookie(&text).map(str::to_owned);
                    return Ok(std::mem::take(&mut self.arriving));
                }
                Kind::Error => {
                    return Err(LoadError::Refused(
                        text.as_str().chars().take(500).collect(),
                    ));
                }
                Kind::Connected | Kind::Other => {}
            }
        }
    }

    /// Reads until the poke that completes a query; gives the number of rows put up to there.
    pub async fn hydrated(&mut self, query: &Query) -> Result<usize, LoadError> {
        let mut rows = 0;
        loop {
            let texts = self.poke().await?;
            rows += texts.iter().map(|text| poke::rows(text)).sum::<usize>();
            if texts.iter().any(|text| poke::has_got(text, &query.hash)) {
                return Ok(rows);
            }
        }
    }

    /// Reads on; gives the highest mark of each poke that has one.
    pub async fn mark(&mut self) -> Result<u64, LoadError> {
        loop {
            let texts = self.poke().await?;
            if let Some(mark) = texts
                .iter()
                .filter_map(|text| poke::highest_mark(text))
                .max()
            {
                return Ok(mark);
            }
        }
    }

    pub async fn close(mut self) -> Result<(), LoadError> {
        Ok(self.socket.close(None).await?)
    }
}

/// A name that no run before this one has used.
pub fn fresh_name(number: usize) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!("g{:x}n{number}", now.as_millis())
}
