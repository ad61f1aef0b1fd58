CREATE TABLE IF NOT EXISTS meta (one boolean PRIMARY KEY DEFAULT true CHECK (one), format int4 NOT NULL, generation text);
INSERT INTO meta (format) VALUES (2) ON CONFLICT DO NOTHING;
CREATE SEQUENCE IF NOT EXISTS node_ids AS int4;
CREATE SEQUENCE IF NOT EXISTS instance_ids;
CREATE TABLE IF NOT EXISTS nodes (id int4 PRIMARY KEY, durable int8 NOT NULL DEFAULT 0, ended boolean NOT NULL DEFAULT false);
CREATE TABLE IF NOT EXISTS moved (node int4, grp text, seq bigserial, PRIMARY KEY (node, seq));
CREATE TABLE IF NOT EXISTS groups (id text PRIMARY KEY, node int4, reached int8 NOT NULL DEFAULT 0,
  owned boolean NOT NULL DEFAULT false, owner text, client_schema text, state int8 NOT NULL DEFAULT 0,
  config int8 NOT NULL DEFAULT 0, ttl_clock int8 NOT NULL DEFAULT 0, last_active int8 NOT NULL,
  purged boolean NOT NULL DEFAULT false, pruned_state int8 NOT NULL DEFAULT 0, pruned_config int8 NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS clients (grp text, client text, PRIMARY KEY (grp, client));
CREATE TABLE IF NOT EXISTS desires (grp text, client text, hash text, state int8 NOT NULL, config int8 NOT NULL,
  active boolean NOT NULL, ttl int8 NOT NULL, inactivated_at int8, PRIMARY KEY (grp, client, hash));
CREATE TABLE IF NOT EXISTS queries (grp text, hash text, ast text, name text, args text, PRIMARY KEY (grp, hash));
CREATE TABLE IF NOT EXISTS spans (grp text, hash text, instance int8 NOT NULL, from_state int8, from_config int8,
  until_state int8, until_config int8, PRIMARY KEY (grp, hash, from_state, from_config));
CREATE INDEX IF NOT EXISTS spans_by_instance ON spans (instance);
CREATE TABLE IF NOT EXISTS results (grp text, client text, mutation int8, put_state int8 NOT NULL,
  put_config int8 NOT NULL, del_state int8, del_config int8, PRIMARY KEY (grp, client, mutation));
CREATE TABLE IF NOT EXISTS instances (id int8 PRIMARY KEY, key bytea NOT NULL, node int4, frozen int8,
  pruned_below int8 NOT NULL);
CREATE INDEX IF NOT EXISTS instances_by_key ON instances (md5(key));
CREATE TABLE IF NOT EXISTS members (instance int8, tbl text, key bytea, entered int8 NOT NULL, changed int8 NOT NULL,
  gone int8, fingerprint bytea NOT NULL, PRIMARY KEY (instance, tbl, key));
