//! Writes to the database, as any program would make them.

use tokio_postgres::{Client, NoTls, Statement};

use crate::error::LoadError;
use crate::target::{Query, issue_id};

/// A connection that changes issues. Each change sets `mark` to a number that no change before it had.
pub struct Writer {
    client: Client,
    update: Statement,
    mark: u64,
}

impl Writer {
    pub async fn connect(url: &str) -> Result<Writer, LoadError> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::task::spawn_local(async move {
            // A lost connection fails the next statement, which says so.
            let _ = connection.await;
        });
        let update = client
            .prepare("UPDATE issue SET mark = $1, modified = now() WHERE id = $2")
            .await?;
        let row = client
            .query_one("SELECT coalesce(max(mark), 0) FROM issue", &[])
            .await?;
        let mark = u64::from(row.get::<_, i32>(0).unsigned_abs());
        Ok(Writer {
            client,
            update,
            mark,
        })
    }

    /// The mark that the latest write has set.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// Changes one issue in a transaction of its own.
    pub async fn touch(&mut self, issue: usize) -> Result<(), LoadError> {
        self.mark += 1;
        let mark =
            i32::try_from(self.mark).map_err(|_| LoadError::Wrong("marks are used up".into()))?;
        let changed = self
            .client
            .execute(&self.update, &[&mark, &issue_id(issue)])
            .await?;
        if changed == 1 {
            Ok(())
        } else {
            Err(LoadError::Wrong(format!("there is no issue {issue}")))
        }
    }

    /// Takes an issue out; `insert` brings it back.
    pub async fn remove(&mut self, issue: usize) -> Result<(), LoadError> {
        self.client
            .execute("DELETE FROM issue WHERE id = $1", &[&issue_id(issue)])
            .await?;
        Ok(())
    }

    pub async fn insert(&mut self, issue: usize) -> Result<(), LoadError> {
        self.mark += 1;
        self.client
            .batch_execute(&format!(
                "INSERT INTO issue VALUES ('{}', 'p{}', 'a{}', 'r{}', 'Issue {issue} again', 'user1', {}, {}, now())",
                issue_id(issue), issue / 100, issue / 1000, issue / 10_000, issue % 1000, self.mark,
            ))
            .await?;
        Ok(())
    }

    /// Marks by key of the rows that a query is about.
    pub async fn rows(&self, query: &Query) -> Result<Vec<(String, i64)>, LoadError> {
        let rows = self
            .client
            .query(
                &format!("SELECT id, mark FROM issue WHERE {} = $1", query.column),
                &[&query.value],
            )
            .await?;
        Ok(rows
            .iter()
            .map(|row| (row.get(0), row.get::<_, i32>(1).into()))
            .collect())
    }

    /// `count` transactions of one row each, in the database itself, over the first hundred issues.
    pub async fn burst(&mut self, count: u64) -> Result<(), LoadError> {
        self.client
            .batch_execute(&format!("CALL touch_many({}, {count})", self.mark))
            .await?;
        self.mark += count;
        Ok(())
    }
}
