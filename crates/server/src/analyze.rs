//! Explains a query over a replica: how it is read, what it reads, and what it should not have to.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use landfall_ivm::{LevelPlan, analyze};
use landfall_zql::ast::{Ast, AstError};

use crate::replica::{Reader, ReplicaError};
use crate::upstream::{self, UpstreamError};

/// Rows of a table from which on it matters that an index is missing.
pub(crate) const LARGE: u64 = 1_000;

/// How a query was run.
#[derive(Debug)]
pub struct Analysis {
    /// Its levels, with what was read at each.
    pub plan: LevelPlan,
    /// Reads that an index would make cheaper, one line each.
    pub warnings: Vec<String>,
    /// How long it took, the counting included.
    pub elapsed: Duration,
}

/// Why a query cannot be analysed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnalysisError {
    /// It is not an AST.
    #[error(transparent)]
    Query(#[from] AstError),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] UpstreamError),
    /// The replica cannot be read.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// It cannot be built or run.
    #[error(transparent)]
    Run(#[from] landfall_ivm::AnalyzeError),
}

/// Runs a query, an AST under the server's names as JSON, over an embedded file or the replica of a Postgres.
///
/// # Errors
/// The file is neither, or the query cannot be run over it.
pub fn analyze_file(path: &Path, query: &str) -> Result<Analysis, AnalysisError> {
    let ast = Ast::from_json(query)?;
    let reader = upstream::look(path)?.reader()?;
    analyze_reader(&reader, &ast)
}

/// Runs a query over a reader's state. Everything that a client would be sent is read.
///
/// # Errors
/// The query cannot be built or run.
pub fn analyze_reader(reader: &Reader, ast: &Ast) -> Result<Analysis, AnalysisError> {
    let start = Instant::now();
    let plan = analyze(ast, reader, true)?;
    let elapsed = start.elapsed();
    let mut warnings = Vec::new();
    for level in plan.levels() {
        let Some(read) = &level.read else { continue };
        let is_large = read.rows >= LARGE;
        for path in read.paths.iter().filter(|path| is_large && path.is_poor()) {
            warnings.push(format!(
                "{} rows of {} are read in {} fetches, each of which {path}",
                read.rows, level.table, read.fetches
            ));
        }
    }
    Ok(Analysis {
        plan,
        warnings,
        elapsed,
    })
}

impl Analysis {
    /// The analysis as JSON.
    pub fn to_json(&self) -> String {
        let warnings: Vec<serde_json::Value> = self
            .warnings
            .iter()
            .map(|warning| warning.as_str().into())
            .collect();
        format!(
            r#"{{"plan":{},"warnings":{},"elapsedMs":{}}}"#,
            self.plan.to_json(),
            serde_json::Value::Array(warnings),
            self.elapsed.as_secs_f64() * 1000.0
        )
    }
}

impl fmt::Display for Analysis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plan)?;
        let read = |level: &&LevelPlan| level.read.as_ref().map_or(0, |read| read.rows);
        let rows: u64 = self.plan.levels().iter().map(read).sum();
        writeln!(
            f,
            "read {rows} rows in {:.1} ms",
            self.elapsed.as_secs_f64() * 1000.0
        )?;
        self.warnings
            .iter()
            .try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::upstream::embedded::ByHand;

    const QUERY: &str = r#"{"table":"issue","orderBy":[["created","desc"]],"limit":50,"where":{
        "type":"correlatedSubquery","op":"EXISTS","related":{
            "correlation":{"parentField":["id"],"childField":["issue"]},
            "subquery":{"table":"comment","alias":"zsubq_comments","where":{"type":"simple","op":"=",
                "left":{"type":"column","name":"rare"},"right":{"type":"literal","value":true}}}}}}"#;

    #[test]
    fn a_file_is_analysed_with_its_missing_indexes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let refused = |query: &str| analyze_file(&path, query).unwrap_err().to_string();
        assert!(refused(QUERY).ends_with("no such file"));
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(
            "CREATE TABLE issue (id INTEGER PRIMARY KEY, created INTEGER NOT NULL);
             CREATE TABLE comment (id INTEGER PRIMARY KEY, issue INTEGER NOT NULL, rare BOOLEAN NOT NULL);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
             INSERT INTO issue SELECT i, (i * 7919) % 6000 FROM n;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 18000)
             INSERT INTO comment SELECT i, (i * 7) % 6000 + 1, i % 1000 = 17 FROM n;",
        )
        .unwrap();
        assert!(refused(QUERY).ends_with("it has not been served yet"));
        // Serving it makes the log, whose version is read.
        drop(ByHand::open(&path).unwrap());
        assert!(refused("{}").starts_with("the query is not valid"));
        assert!(refused(r#"{"table":"nothing"}"#).contains("unknown table"));

        // 18 comments are read, and the issues of each; not 6,000 issues.
        let analysis = analyze_file(&path, QUERY).unwrap();
        let text = analysis.to_string();
        assert!(text.contains("exists zsubq_comments (flipped)"), "{text}");
        let read = |analysis: &Analysis, level: usize| {
            let levels = analysis.plan.levels();
            let read = levels[level].read.clone().unwrap();
            (read.rows, read.given)
        };
        assert_eq!(read(&analysis, 0), (6, 6), "{text}");
        assert_eq!(analysis.warnings, Vec::<String>::new(), "{text}");

        // In order of a column without an index, half of the table.
        let by_issue = QUERY.replace("\"op\":\"EXISTS\"", "\"op\":\"NOT EXISTS\"");
        let analysis = analyze_file(&path, &by_issue).unwrap();
        let text = analysis.to_string();
        assert!(
            text.contains("an index on (created, id) would serve"),
            "{text}"
        );
        conn.execute_batch(
            "CREATE INDEX a ON issue (created, id); CREATE INDEX b ON comment (issue, rare, id)",
        )
        .unwrap();
        let analysis = analyze_file(&path, &by_issue).unwrap();
        assert_eq!(analysis.warnings, Vec::<String>::new(), "{analysis}");
        let json: serde_json::Value = serde_json::from_str(&analysis.to_json()).unwrap();
        assert_eq!(json["plan"]["read"]["given"], 50);
        assert_eq!(json["plan"]["conditions"][0]["evaluation"], "semi");
    }
}
