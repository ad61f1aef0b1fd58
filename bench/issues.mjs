// The database of `bench:server`: issues, made once and copied for each server.
import pg from 'pg';

const TABLES = rows => `
  CREATE TABLE issue (
    id text PRIMARY KEY, project text NOT NULL, area text NOT NULL, region text NOT NULL, title text NOT NULL, owner text NOT NULL,
    rank int4 NOT NULL, mark int4 NOT NULL, modified timestamptz NOT NULL
  );
  INSERT INTO issue
    SELECT lpad(n::text, 7, '0'), 'p' || n / 100, 'a' || n / 1000, 'r' || n / 10000,
      'Issue ' || n || ' that somebody has written a line about, ' || md5(n::text), 'user' || n % 1000, n % 1000, 0,
      timestamptz '2024-01-01' + n * interval '1 minute'
    FROM generate_series(0, ${rows - 1}) AS n;
  CREATE INDEX ON issue (project, id);
  CREATE INDEX ON issue (area, id);
  CREATE INDEX ON issue (region, id);
  CREATE PROCEDURE touch_many(mark_before int8, times int8) LANGUAGE plpgsql AS $$
  BEGIN
    FOR n IN 1..times LOOP
      UPDATE issue SET mark = mark_before + n, modified = now() WHERE id = lpad((n % 100)::text, 7, '0');
      COMMIT;
    END LOOP;
  END $$;`;

async function query(url, ...statements) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    let last;
    for (const text of statements) last = await client.query(text);
    return last;
  } finally {
    await client.end();
  }
}

const named = (url, name) => {
  const its = new URL(url);
  its.pathname = `/${name}`;
  return its.href;
};

/** Makes the template; gives a maker of copies of it. */
export async function makeTemplate(url, rows) {
  // A server under test that does not answer for a while must not lose its stream.
  // Commits that Postgres writes out up to 200 ms later would be what is measured.
  await query(url, "ALTER ROLE CURRENT_USER SET wal_sender_timeout = '60s'", 'ALTER ROLE CURRENT_USER SET synchronous_commit = on', 'CREATE DATABASE issues');
  await query(named(url, 'issues'), TABLES(rows), 'VACUUM ANALYZE issue', 'CHECKPOINT');
  let count = 0;
  return async () => {
    const name = `issues${count++}`;
    await query(url, `CREATE DATABASE ${name} TEMPLATE issues`);
    return {
      url: named(url, name),
      async drop() {
        for (let attempt = 0; attempt < 100; attempt++) {
          await query(url, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '${name}' AND NOT active`);
          try {
            await query(url, `DROP DATABASE ${name} WITH (FORCE)`);
            return;
          } catch {
            await new Promise(resolve => setTimeout(resolve, 100));
          }
        }
        throw new Error(`the database ${name} is still in use`);
      },
    };
  };
}
