//! Tokens: verified here if a key is configured, otherwise passed on to the app's endpoints.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use landfall_protocol::{ErrorBody, ErrorKind};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use crate::config::{JwtKey, JwtSettings, Secret};
use crate::session::ConnectionAuth;

/// How long a fetched key set is used before an unknown key makes it worth fetching again.
const KEY_SET_MIN_AGE: Duration = Duration::from_secs(30);

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthError {
    /// There is a token and no user.
    #[error("a token needs a userID")]
    NoUser,
    /// The token does not verify. The text says why, without the token.
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// The token belongs to somebody else.
    #[error("the token's subject is not the user of this connection")]
    OtherUser,
    /// Nobody can check the token.
    #[error(
        "this server can neither verify tokens (--auth-secret, --auth-jwk, --auth-jwks-url) nor pass them on to an app (--query-url, --mutate-url)"
    )]
    Unverifiable,
    /// A token was to be replaced by nothing.
    #[error("a connection with a token needs a token")]
    Missing,
    /// A token was to be replaced by one of another kind.
    #[error("the new token is of another kind than the old one")]
    OtherKind,
}

impl From<AuthError> for ErrorBody {
    fn from(error: AuthError) -> Self {
        let kind = match error {
            AuthError::Invalid(_) => ErrorKind::AuthInvalidated,
            _ => ErrorKind::Unauthorized,
        };
        ErrorBody::new(kind, error.to_string())
    }
}

/// Decides about tokens.
pub struct TokenVerifier {
    jwt: Option<JwtSettings>,
    /// Whether the app's endpoints see the token and so decide about it.
    passed_on: bool,
    /// Whether a token may go unchecked, since everything is open.
    dev: bool,
    http: reqwest::Client,
    key_set: Mutex<Option<(Instant, Arc<JwkSet>)>>,
}

impl TokenVerifier {
    /// A verifier for these settings.
    pub fn new(
        jwt: Option<JwtSettings>,
        passed_on: bool,
        dev: bool,
        http: reqwest::Client,
    ) -> Self {
        TokenVerifier {
            jwt,
            passed_on,
            dev,
            http,
            key_set: Mutex::new(None),
        }
    }

    /// Resolves the token of a new connection.
    pub async fn resolve(
        &self,
        user: Option<&str>,
        token: Option<&str>,
    ) -> Result<ConnectionAuth, AuthError> {
        // In development a user is believed, where nobody else decides about tokens.
        let believed = self.dev && self.jwt.is_none() && !self.passed_on;
        let claims = user.filter(|_| believed).map(|user| json!({"sub": user}));
        let Some(token) = token.filter(|t| !t.is_empty()) else {
            return Ok(ConnectionAuth {
                claims,
                ..ConnectionAuth::default()
            });
        };
        let user = user.ok_or(AuthError::NoUser)?;
        let Some(settings) = &self.jwt else {
            if !self.passed_on && !self.dev {
                return Err(AuthError::Unverifiable);
            }
            return Ok(ConnectionAuth {
                token: Some(Secret::new(token)),
                claims,
                ..ConnectionAuth::default()
            });
        };
        let claims = self.verify(settings, token).await?;
        if claims.get("sub").and_then(Json::as_str) != Some(user) {
            return Err(AuthError::OtherUser);
        }
        Ok(ConnectionAuth {
            token: Some(Secret::new(token)),
            claims: Some(claims),
            revision: 0,
        })
    }

    /// Resolves a token that replaces another; `None` = the old one stays.
    pub async fn replace(
        &self,
        user: Option<&str>,
        old: &ConnectionAuth,
        token: &str,
    ) -> Result<Option<ConnectionAuth>, AuthError> {
        if token.is_empty() {
            return match old.token {
                Some(_) => Err(AuthError::Missing),
                None => Ok(None),
            };
        }
        if old.token.as_ref().is_some_and(|t| t.expose() == token) {
            return Ok(None);
        }
        let new = self.resolve(user, Some(token)).await?;
        if old.token.is_some() && old.claims.is_some() != new.claims.is_some() {
            return Err(AuthError::OtherKind);
        }
        let issued = |auth: &ConnectionAuth| {
            auth.claims
                .as_ref()
                .and_then(|c| c.get("iat"))
                .and_then(Json::as_f64)
        };
        match (issued(old), issued(&new)) {
            (Some(_), None) if new.claims.is_some() => Err(AuthError::OtherKind),
            (Some(before), Some(now)) if now <= before => Ok(None),
            _ => Ok(Some(ConnectionAuth {
                revision: old.revision + 1,
                ..new
            })),
        }
    }

    async fn verify(&self, settings: &JwtSettings, token: &str) -> Result<Json, AuthError> {
        let invalid = |error: jsonwebtoken::errors::Error| AuthError::Invalid(error.to_string());
        let header = decode_header(token).map_err(invalid)?;
        let (key, allowed) = self.key(settings, header.kid.as_deref()).await?;
        if !allowed.contains(&header.alg) {
            return Err(AuthError::Invalid(
                "the algorithm does not fit the key".to_owned(),
            ));
        }
        let mut validation = Validation::new(header.alg);
        validation.required_spec_claims.clear();
        validation.validate_nbf = true;
        match &settings.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".to_owned());
            }
            None => validation.validate_aud = false,
        }
        if let Some(issuer) = &settings.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        Ok(decode::<Json>(token, &key, &validation)
            .map_err(invalid)?
            .claims)
    }

    async fn key(
        &self,
        settings: &JwtSettings,
        key_id: Option<&str>,
    ) -> Result<(DecodingKey, Vec<Algorithm>), AuthError> {
        let unusable = |what: &str| AuthError::Invalid(what.to_owned());
        let jwk: Jwk = match &settings.key {
            JwtKey::Secret(secret) => {
                let key = DecodingKey::from_secret(secret.expose().as_bytes());
                return Ok((
                    key,
                    vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
                ));
            }
            JwtKey::Jwk(text) => serde_json::from_str(text.expose())
                .map_err(|_| unusable("the configured key cannot be read"))?,
            JwtKey::JwksUrl(url) => self.key_from_set(url, key_id).await?,
        };
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| unusable("the key cannot be used"))?;
        let named = jwk
            .common
            .key_algorithm
            .and_then(|a| a.to_string().parse::<Algorithm>().ok());
        let allowed =
            named.map_or_else(|| asymmetric_algorithms(&jwk), |algorithm| vec![algorithm]);
        Ok((key, allowed))
    }

    async fn key_from_set(&self, url: &str, key_id: Option<&str>) -> Result<Jwk, AuthError> {
        let find = |set: &JwkSet| match key_id {
            Some(id) => set.find(id).cloned(),
            None => set.keys.first().filter(|_| set.keys.len() == 1).cloned(),
        };
        let known = self.key_set.lock().clone();
        if let Some((fetched, set)) = known {
            match find(&set) {
                Some(key) => return Ok(key),
                None if fetched.elapsed() < KEY_SET_MIN_AGE => {
                    return Err(AuthError::Invalid("unknown key".to_owned()));
                }
                None => {}
            }
        }
        let unreachable = |_| AuthError::Invalid("the key set cannot be fetched".to_owned());
        let answer = self
            .http
            .get(url)
            .timeout(Duration::from_secs(10))
            .send()
            .await
            .map_err(unreachable)?;
        let set: JwkSet = answer
            .error_for_status()
            .map_err(unreachable)?
            .json()
            .await
            .map_err(unreachable)?;
        let set = Arc::new(set);
        *self.key_set.lock() = Some((Instant::now(), set.clone()));
        find(&set).ok_or_else(|| AuthError::Invalid("unknown key".to_owned()))
    }
}

/// What a public key without a named algorithm may be used with; never a shared-secret one.
fn asymmetric_algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    use jsonwebtoken::jwk::AlgorithmParameters::{EllipticCurve, OctetKey, OctetKeyPair, RSA};
    match &jwk.algorithm {
        RSA(_) => vec![
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        EllipticCurve(_) => vec![Algorithm::ES256, Algorithm::ES384],
        OctetKeyPair(_) => vec![Algorithm::EdDSA],
        OctetKey(_) => vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    fn verifier(audience: Option<&str>) -> TokenVerifier {
        crate::install_tls();
        let jwt = JwtSettings {
            key: JwtKey::Secret(Secret::new("k")),
            issuer: None,
            audience: audience.map(str::to_owned),
        };
        TokenVerifier::new(Some(jwt), false, false, reqwest::Client::new())
    }

    fn token(secret: &str, claims: Json) -> String {
        encode(
            &Header::default(),
            &claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .expect("signs")
    }

    async fn check(user: Option<&str>, token: &str) -> Result<Option<Json>, AuthError> {
        Ok(verifier(None).resolve(user, Some(token)).await?.claims)
    }

    #[tokio::test]
    async fn tokens_are_verified() {
        let claims = json!({"sub": "u", "role": "admin"});
        assert_eq!(
            check(Some("u"), &token("k", claims.clone())).await,
            Ok(Some(claims.clone()))
        );
        assert_eq!(
            check(Some("v"), &token("k", claims.clone())).await,
            Err(AuthError::OtherUser)
        );
        assert_eq!(
            check(None, &token("k", claims.clone())).await,
            Err(AuthError::NoUser)
        );
        assert_eq!(check(Some("u"), "").await, Ok(None));
        let forged = check(Some("u"), &token("other", claims)).await;
        assert!(matches!(forged, Err(AuthError::Invalid(_))));
        let old = check(Some("u"), &token("k", json!({"sub": "u", "exp": 1}))).await;
        assert!(matches!(old, Err(AuthError::Invalid(_))));
    }

    #[tokio::test]
    async fn the_audience_must_match_when_configured() {
        let wrong = token("k", json!({"sub": "u", "aud": "x"}));
        assert!(
            verifier(Some("y"))
                .resolve(Some("u"), Some(&wrong))
                .await
                .is_err()
        );
        assert!(
            verifier(Some("x"))
                .resolve(Some("u"), Some(&wrong))
                .await
                .is_ok()
        );
        assert!(
            verifier(Some("x"))
                .resolve(Some("u"), Some(&token("k", json!({"sub": "u"}))))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn an_older_token_does_not_replace_a_newer_one() {
        let v = verifier(None);
        let old = v
            .resolve(Some("u"), Some(&token("k", json!({"sub": "u", "iat": 10}))))
            .await
            .expect("valid");
        let newer = token("k", json!({"sub": "u", "iat": 11}));
        let older = token("k", json!({"sub": "u", "iat": 9}));
        assert_eq!(v.replace(Some("u"), &old, &older).await, Ok(None));
        assert_eq!(
            v.replace(Some("u"), &old, &newer)
                .await
                .expect("valid")
                .expect("new")
                .revision,
            1
        );
        assert_eq!(
            v.replace(Some("u"), &old, "").await,
            Err(AuthError::Missing)
        );
        let other = token("k", json!({"sub": "v", "iat": 12}));
        assert_eq!(
            v.replace(Some("u"), &old, &other).await,
            Err(AuthError::OtherUser)
        );
    }

    #[tokio::test]
    async fn without_key_and_app_a_token_is_refused() {
        crate::install_tls();
        let closed = TokenVerifier::new(None, false, false, reqwest::Client::new());
        assert_eq!(
            closed.resolve(Some("u"), Some("t")).await,
            Err(AuthError::Unverifiable)
        );
        let open = TokenVerifier::new(None, true, false, reqwest::Client::new());
        assert!(
            open.resolve(Some("u"), Some("t"))
                .await
                .expect("passed on")
                .token
                .is_some()
        );
    }

    /// Key pairs of these tests: the private key as PKCS #8, the public one as a JWK holds it.
    const PAIRS: [(&str, &str); 2] = [
        (
            "MC4CAQAwBQYDK2VwBCIEIGW1CHieUzjPslQXifRUmnVj3CoXsgSS/DXCHXJhLVV/",
            "76y4e4ilXx2MDb2rxIo9lZb6XQKIknLiFj4F4k8ykec",
        ),
        (
            "MC4CAQAwBQYDK2VwBCIEINQ8WO2PdI0gKzocFa6bKbimDXwCEW2RuDGfNHb/vQzF",
            "eTxWhQLdTlM0eTmDdruKOA6vWFo0zMnHz98oZo4ZMHM",
        ),
    ];

    fn public(pair: usize) -> Json {
        json!({"kty": "OKP", "crv": "Ed25519", "x": PAIRS[pair].1, "kid": format!("k{pair}")})
    }

    /// A token that is signed with a private key, and says with which.
    fn signed(pair: usize, key_id: Option<&str>, user: &str) -> String {
        let key = base64::engine::general_purpose::STANDARD
            .decode(PAIRS[pair].0)
            .expect("base64");
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = key_id.map(str::to_owned);
        let key = EncodingKey::from_ed_der(&key);
        encode(&header, &json!({"sub": user}), &key).expect("signs")
    }

    fn verifier_of(key: JwtKey) -> TokenVerifier {
        crate::install_tls();
        let jwt = JwtSettings {
            key,
            issuer: None,
            audience: None,
        };
        TokenVerifier::new(Some(jwt), false, false, reqwest::Client::new())
    }

    #[tokio::test]
    async fn a_public_key_verifies_what_its_pair_signed_and_nothing_else() {
        let key = public(0).to_string();
        let verifier = verifier_of(JwtKey::Jwk(Secret::new(&key)));
        let good = signed(0, None, "u");
        let good = verifier.resolve(Some("u"), Some(&good)).await;
        assert_eq!(good.expect("valid").claims, Some(json!({"sub": "u"})));
        // Another key; and the public key taken for a shared secret, as whole text and as bytes of the key.
        let forged = [
            signed(1, None, "u"),
            token(&key, json!({"sub": "u"})),
            token(PAIRS[0].1, json!({"sub": "u"})),
        ];
        for forged in forged {
            let outcome = verifier.resolve(Some("u"), Some(&forged)).await;
            assert!(matches!(outcome, Err(AuthError::Invalid(_))), "{forged}");
        }
    }

    #[tokio::test]
    async fn a_key_set_is_fetched_once_and_not_for_every_unknown_key() {
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = asked.clone();
        let router = axum::Router::new().fallback(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            std::future::ready(axum::Json(json!({"keys": [public(0), public(1)]})))
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let verifier = verifier_of(JwtKey::JwksUrl(url));
        for pair in [0, 1, 0] {
            let token = signed(pair, Some(&format!("k{pair}")), "u");
            let good = verifier.resolve(Some("u"), Some(&token)).await;
            assert_eq!(good.expect("valid").claims, Some(json!({"sub": "u"})));
        }
        let refused = [
            signed(1, Some("k0"), "u"),
            signed(0, Some("unknown"), "u"),
            signed(0, None, "u"),
        ];
        for token in refused {
            let outcome = verifier.resolve(Some("u"), Some(&token)).await;
            assert!(matches!(outcome, Err(AuthError::Invalid(_))), "{token}");
        }
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
        server.abort();
        let gone = verifier_of(JwtKey::JwksUrl("http://127.0.0.1:1/keys".to_owned()));
        let outcome = gone.resolve(Some("u"), Some(&signed(0, None, "u"))).await;
        assert!(matches!(outcome, Err(AuthError::Invalid(_))));
    }
}
