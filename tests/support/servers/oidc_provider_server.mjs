#!/usr/bin/env node
// A real authorization server (panva's oidc-provider) on loopback over plain http, for tests without a browser.
//
//   node oidc_provider_server.mjs PORT [--access-lifetime S] [--refresh-lifetime S] [--nonce] [--state DIR]
//                                      [--until-stdin-closes]
//
// Prints one line `ready http://127.0.0.1:PORT` when it accepts connections (PORT 0 = any free port) and exits 0 on
// SIGTERM. All state is in memory; with --state it is saved to a file at exit and restored at the next start.
//
//   POST /token                  authorization_code, refresh_token (always rotated), client_credentials, token exchange
//                                and JWT bearer (oidc_provider_grants.mjs)
//   POST /token/introspection    POST /token/revocation
//   GET  /me                     userinfo: the protected resource (Bearer or DPoP)
//   GET  /_code?client_id=..     mints an authorization code as if alice had signed in and consented; exchange it at
//                                /token with redirect_uri=http://127.0.0.1/cb (public clients: code_verifier=VERIFIER)
//   GET  /_assertion?subject=..  signs an assertion for the JWT bearer grant (&expired=1, &untrusted=1: an invalid one)
//   GET  /_counts                responses of the token endpoint by grant, status and error
//   POST /_expire                expires the access token in the body (a revocation ends its whole grant)
//   POST /_hold                  holds the next response of /token, after it is made
//   POST /_release               sends it
//
// clients:  web      / web-secret      confidential (client_secret_basic or _post), every grant
//           cli                        public (PKCE)
//           dpop-cli                   public (PKCE), its tokens must be DPoP-bound
//           service  / service-secret  confidential, client_credentials only
import { createHash, randomBytes, webcrypto } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { Provider } from 'oidc-provider';

import { JWT_BEARER, TOKEN_EXCHANGE, registerGrants } from './oidc_provider_grants.mjs';

// oidc-provider needs a newer node than some distributions have.
globalThis.crypto ??= webcrypto;
URL.parse ??= (url, base) => { try { return new URL(url, base); } catch { return null; } };

const { values: opt, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    // Outlasts any test, however slow the machine: tests expire a token with /_expire.
    'access-lifetime': { type: 'string', default: '86400' },
    'refresh-lifetime': { type: 'string', default: '604800' },
    nonce: { type: 'boolean', default: false }, // DPoP proofs must carry a server nonce
    state: { type: 'string' },
    'until-stdin-closes': { type: 'boolean', default: false },
  },
});
const port = Number(positionals[0]);
if (!Number.isInteger(port)) {
  console.error('usage: oidc_provider_server.mjs PORT [options]');
  process.exit(2);
}
const accessLifetime = Number(opt['access-lifetime']);
const refreshLifetime = Number(opt['refresh-lifetime']);
let holdNext = false;
let release = () => {};

const VERIFIER = 'a-code-verifier-for-tests-only-0123456789abcdefghijk';
const REDIRECT = 'http://127.0.0.1/cb';
const SCOPES = 'openid offline_access api';

// The built-in store is an LRU of about a thousand entries, which evicts valid tokens in a test with more of them. This
// one keeps each entry until it expires or is revoked.
const rows = new Map();
const members = new Map(); // grantId -> keys

const stateFile = opt.state && join(opt.state, 'oidc.json');
function restore() {
  if (!stateFile || !existsSync(stateFile)) return;
  const kept = JSON.parse(readFileSync(stateFile, 'utf8'));
  for (const [key, { payload, until }] of kept.rows) rows.set(key, { payload, until: until ?? Infinity });
  for (const [grant, keys] of kept.members) members.set(grant, new Set(keys));
  Object.assign(counts, kept.counts);
}

function keep() {
  if (!stateFile) return;
  mkdirSync(opt.state, { recursive: true });
  const kept = { rows: [...rows], members: [...members].map(([grant, keys]) => [grant, [...keys]]), counts };
  writeFileSync(`${stateFile}.new`, JSON.stringify(kept));
  renameSync(`${stateFile}.new`, stateFile);
}
class Store {
  constructor(model) { this.model = model; }

  key(id) { return `${this.model}:${id}`; }

  async upsert(id, payload, expiresIn) {
    const key = this.key(id);
    rows.set(key, { payload, until: expiresIn ? Date.now() + expiresIn * 1000 : Infinity });
    if (payload.grantId && this.model !== 'Grant') {
      if (!members.has(payload.grantId)) members.set(payload.grantId, new Set());
      members.get(payload.grantId).add(key);
    }
  }

  async find(id) {
    const row = rows.get(this.key(id));
    return row && row.until > Date.now() ? { ...row.payload } : undefined;
  }

  async findByUid(uid) { return this.first((p) => p.uid === uid); }

  async findByUserCode(code) { return this.first((p) => p.userCode === code); }

  first(matches) {
    for (const [key, { payload }] of rows) {
      if (key.startsWith(`${this.model}:`) && matches(payload)) return { ...payload };
    }
    return undefined;
  }

  async consume(id) {
    const row = rows.get(this.key(id));
    if (row) row.payload = { ...row.payload, consumed: Math.floor(Date.now() / 1000) };
  }

  async destroy(id) { rows.delete(this.key(id)); }

  async revokeByGrantId(grantId) {
    for (const key of members.get(grantId) ?? []) {
      if (key.startsWith(`${this.model}:`)) rows.delete(key);
    }
  }
}

const CODE = ['authorization_code', 'refresh_token'];
const publicClient = (id, more = {}) => ({
  client_id: id,
  token_endpoint_auth_method: 'none',
  application_type: 'native',
  grant_types: CODE,
  response_types: ['code'],
  redirect_uris: [REDIRECT],
  scope: SCOPES,
  ...more,
});

const configuration = {
  adapter: Store,
  clients: [
    {
      client_id: 'web',
      client_secret: 'web-secret',
      application_type: 'native', // allows a loopback http redirect URI
      grant_types: [...CODE, 'client_credentials', TOKEN_EXCHANGE, JWT_BEARER],
      response_types: ['code'],
      redirect_uris: [REDIRECT],
      scope: SCOPES,
    },
    publicClient('cli'),
    publicClient('dpop-cli', { dpop_bound_access_tokens: true }),
    {
      client_id: 'service',
      client_secret: 'service-secret',
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
      scope: 'api',
    },
  ],
  scopes: SCOPES.split(' '),
  cookies: { keys: [randomBytes(16).toString('hex')] },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  ttl: {
    AccessToken: accessLifetime,
    ClientCredentials: accessLifetime,
    AuthorizationCode: 60,
    IdToken: 3600,
    RefreshToken: refreshLifetime,
    Grant: refreshLifetime,
    Interaction: 3600,
    Session: refreshLifetime,
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    // simpler than the default policies
    introspection: { enabled: true, allowedPolicy: (_ctx, client) => client.clientAuthMethod !== 'none' },
    revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => opt.nonce },
    userinfo: { enabled: true },
  },
};

const counts = {};
function count(ctx) {
  if (ctx.path !== '/token') return;
  const key = [ctx.oidc?.params?.grant_type ?? '?', ctx.status, ctx.body?.error].filter(Boolean).join(' ');
  counts[key] = (counts[key] ?? 0) + 1;
}

async function mintCode(provider, clientId, scope) {
  const client = await provider.Client.find(clientId);
  if (!client) return undefined;
  const grant = new provider.Grant({ accountId: 'alice', clientId });
  grant.addOIDCScope(scope);
  const grantId = await grant.save();
  const code = new provider.AuthorizationCode({
    accountId: 'alice',
    authTime: Math.floor(Date.now() / 1000),
    client,
    grantId,
    gty: 'authorization_code',
    redirectUri: REDIRECT,
    scope,
    ...(client.clientAuthMethod === 'none' && {
      codeChallenge: createHash('sha256').update(VERIFIER).digest('base64url'),
      codeChallengeMethod: 'S256',
    }),
  });
  return { code: await code.save(), redirect_uri: REDIRECT, code_verifier: VERIFIER };
}

// oidc-provider prints advice for production; only the ready line belongs on stdout
for (const name of ['info', 'warn', 'log']) {
  console[name] = (...a) => { if (process.env.VERBOSE) console.error(...a); };
}

restore();
const server = createServer();
server.listen(port, '127.0.0.1', async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  const sign = await registerGrants(provider);
  provider.on('server_error', (_ctx, error) => console.error(error));
  provider.use(async (ctx, next) => {
    try {
      await next();
    } finally {
      count(ctx);
    }
    if (ctx.path !== '/token' || !holdNext) return;
    holdNext = false;
    await new Promise((r) => { release = r; });
  });
  const app = provider.callback();
  server.on('request', async (req, res) => {
    const url = new URL(req.url, issuer);
    const json = (status, body) => {
      res.writeHead(status, { 'content-type': 'application/json' });
      res.end(JSON.stringify(body));
    };
    if (url.pathname === '/_counts') return json(200, counts);
    const text = async () => {
      let body = '';
      for await (const chunk of req) body += chunk;
      return body;
    };
    if (url.pathname === '/_expire') return json(rows.delete(`AccessToken:${await text()}`) ? 200 : 404, {});
    if (url.pathname === '/_hold' || url.pathname === '/_release') {
      holdNext = url.pathname === '/_hold';
      if (!holdNext) release();
      return json(200, {});
    }
    if (url.pathname === '/_assertion') {
      const { subject, ...flaws } = Object.fromEntries(url.searchParams);
      return json(200, { assertion: await sign(subject, flaws) });
    }
    if (url.pathname === '/_code') {
      const made = await mintCode(
        provider,
        url.searchParams.get('client_id') ?? 'web',
        url.searchParams.get('scope') ?? SCOPES,
      );
      return made ? json(200, made) : json(404, { error: 'no such client' });
    }
    return app(req, res);
  });
  process.stdout.write(`ready ${issuer}\n`);
});

function stop() {
  keep();
  server.close(() => process.exit(0));
  server.closeAllConnections();
}

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, stop);
// A child whose parent was killed must exit.
if (opt['until-stdin-closes']) process.stdin.on('end', stop).resume();
