// A sync server in this very process that does what a test says; it speaks to one client, of either package.

const servers = new Map();

export class FakeServer {
  url = `http://sync-${servers.size + 1}.test`;
  /** Mutations that were pushed and not confirmed. */
  pushed = [];
  #socket;
  #clientID;
  #cookie = null;
  #pokes = 0;

  constructor() {
    servers.set(new URL(this.url).host, this);
  }

  /** Tells the client of one transaction. */
  poke(part) {
    const pokeID = String(++this.#pokes).padStart(6, '0');
    this.#send(['pokeStart', { pokeID, baseCookie: this.#cookie }]);
    this.#send(['pokePart', { pokeID, ...part }]);
    this.#cookie = pokeID;
    this.#send(['pokeEnd', { pokeID, cookie: pokeID }]);
  }

  /** Says that the first of the pushed mutations have ended, and tells of those that failed why. */
  confirm(mutations, failures, part) {
    const last = mutations.at(-1);
    this.pushed.splice(0, mutations.length);
    const ofFailure = ({ clientID, id }) => ({ op: 'put', mutation: { id: { clientID, id }, result: failures.get(id) } });
    const mutationsPatch = mutations.filter(({ id }) => failures.has(id)).map(ofFailure);
    this.poke({ ...part, mutationsPatch, lastMutationIDChanges: { [last.clientID]: last.id } });
  }

  get isConnected() {
    return this.#socket !== undefined;
  }

  connected(socket, url, protocol) {
    this.#socket = socket;
    this.#clientID = url.searchParams.get('clientID');
    this.#send(['connected', { wsid: url.searchParams.get('wsid'), timestamp: Date.now() }]);
    const { initConnectionMessage } = JSON.parse(Buffer.from(decodeURIComponent(protocol), 'base64').toString());
    if (initConnectionMessage !== undefined) this.received(initConnectionMessage);
  }

  received([type, body]) {
    if (type === 'ping') {
      this.#send(['pong', {}]);
    } else if (type === 'push') {
      this.pushed.push(...body.mutations);
    } else if (type === 'initConnection' || type === 'changeDesiredQueries') {
      // All rows are sent to everybody, so that whatever is asked is answered at once, or refused if its name says so.
      const patch = body.desiredQueriesPatch ?? [];
      const refused = patch.filter(({ name }) => name === 'refused');
      const ops = queries => queries.map(({ op, hash }) => ({ op, hash }));
      this.poke({ desiredQueriesPatches: { [this.#clientID]: ops(patch) }, gotQueriesPatch: ops(patch.filter(op => !refused.includes(op))) });
      if (refused.length > 0) {
        this.#send(['transformError', refused.map(({ hash, name, args }) => ({ error: 'app', id: hash, name, message: 'refused', details: args }))]);
      }
    }
  }

  #send(message) {
    this.#socket.deliver(JSON.stringify(message));
  }
}

/** A WebSocket that leads to a `FakeServer`. */
export class FakeSocket extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSING = 2;
  static CLOSED = 3;
  bufferedAmount = 0;
  readyState = 0;
  #server;

  constructor(url, protocols) {
    super();
    const parsed = new URL(url);
    this.url = url;
    this.protocol = [protocols].flat()[0];
    this.#server = servers.get(parsed.host);
    setImmediate(() => {
      this.readyState = 1;
      this.#emit(new Event('open'));
      this.#server.connected(this, parsed, this.protocol);
    });
  }

  deliver(data) {
    setImmediate(() => this.readyState === 1 && this.#emit(new MessageEvent('message', { data })));
  }

  send(text) {
    this.#server.received(JSON.parse(text));
  }

  close(code = 1000, reason = '') {
    if (this.readyState === 3) return;
    this.readyState = 3;
    setImmediate(() => this.#emit(Object.assign(new Event('close'), { code, reason, wasClean: code === 1000 })));
  }

  #emit(event) {
    this[`on${event.type}`]?.(event);
    this.dispatchEvent(event);
  }
}
