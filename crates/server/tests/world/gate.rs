//! A line between a server and Postgres that can be cut, and led elsewhere.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a target while there is one.
pub struct Gate {
    port: u16,
    target: Arc<watch::Sender<Option<String>>>,
}

impl Gate {
    pub async fn new(target: String) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (sender, _) = watch::channel(Some(target));
        let target = Arc::new(sender);
        let targets = target.clone();
        tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                tokio::spawn(pass(inbound, targets.subscribe()));
            }
        });
        Gate { port, target }
    }

    /// Cuts all connections and takes none.
    pub fn cut(&self) {
        self.target.send_replace(None);
    }

    /// Leads new connections to a target; those to another one are cut.
    pub fn lead_to(&self, target: String) {
        self.target.send_replace(Some(target));
    }

    /// The same address, by way of the gate.
    pub fn through(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).expect("a URL");
        url.set_host(Some("127.0.0.1")).expect("a host");
        url.set_port(Some(self.port)).expect("a port");
        url.to_string()
    }
}

async fn pass(mut inbound: TcpStream, mut targets: watch::Receiver<Option<String>>) {
    let Some(target) = targets.borrow_and_update().clone() else {
        return;
    };
    let Ok(mut outbound) = TcpStream::connect(target).await else {
        return;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound) => {}
        _ = targets.changed() => {}
    }
}
