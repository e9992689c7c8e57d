// Two grants that oidc-provider lacks: token exchange (RFC 8693) and JWT bearer (RFC 7523), with the checks that the
// RFCs require. A refresh token is issued only with the scope `offline_access`.
import { randomUUID } from 'node:crypto';

import { SignJWT, generateKeyPair, jwtVerify } from 'jose';
import { errors } from 'oidc-provider';

const { InvalidGrant, InvalidRequest, InvalidScope, InvalidTarget } = errors;

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const ASSERTION_ISSUER = 'https://workloads.example.com';

// `granted`: all that may be requested. Without a request, all of it.
function scopeOf(ctx, granted) {
  const requested = ctx.oidc.params.scope?.split(' ') ?? granted;
  const missing = requested.filter((scope) => !granted.includes(scope));
  if (missing.length) throw new InvalidScope('more than was granted', missing.join(' '));
  return requested.join(' ');
}

async function respond(provider, ctx, accountId, scope, more) {
  const { client } = ctx.oidc;
  const grant = new provider.Grant({ accountId, clientId: client.clientId });
  grant.addOIDCScope(scope);
  const token = { accountId, client, grantId: await grant.save(), gty: ctx.oidc.params.grant_type, scope };
  const access = new provider.AccessToken(token);
  ctx.body = {
    access_token: await access.save(),
    token_type: 'Bearer',
    expires_in: access.expiration,
    scope,
    ...more,
  };
  if (scope.split(' ').includes('offline_access')) {
    ctx.body.refresh_token = await new provider.RefreshToken(token).save();
  }
}

// RFC 8693 §2.2.2: `invalid_request` if a token is invalid.
async function exchanged(provider, ctx, name) {
  const { [name]: token, [`${name}_type`]: type } = ctx.oidc.params;
  if (!token) throw new InvalidRequest(`no ${name}`);
  if (type !== ACCESS_TOKEN) throw new InvalidRequest(`unsupported ${name}_type`);
  const found = await provider.AccessToken.find(token);
  if (!found) throw new InvalidRequest(`invalid ${name}`);
  return found;
}

async function exchange(provider, audience, ctx) {
  const { params } = ctx.oidc;
  const subject = await exchanged(provider, ctx, 'subject_token');
  if (params.actor_token) {
    await exchanged(provider, ctx, 'actor_token');
  } else if (params.actor_token_type) {
    throw new InvalidRequest('actor_token_type without an actor_token');
  }
  if ((params.requested_token_type ?? ACCESS_TOKEN) !== ACCESS_TOKEN) {
    throw new InvalidRequest('unsupported requested_token_type');
  }
  if ((params.audience ?? audience) !== audience) throw new InvalidTarget('unknown audience');
  const scope = scopeOf(ctx, subject.scope.split(' '));
  await respond(provider, ctx, subject.accountId, scope, { issued_token_type: ACCESS_TOKEN });
}

// Registers the grants. Returns a function that signs an assertion as a workload's platform would.
export async function registerGrants(provider) {
  const exchangeParams = ['actor_token', 'actor_token_type', 'audience', 'requested_token_type', 'scope',
    'subject_token', 'subject_token_type'];
  provider.registerGrantType(TOKEN_EXCHANGE, exchange.bind(undefined, provider, provider.issuer), exchangeParams);

  const trusted = await generateKeyPair('ES256');
  const unknown = await generateKeyPair('ES256');
  const used = new Set(); // the `jti` of assertions, none of which is accepted twice
  provider.registerGrantType(JWT_BEARER, async (ctx) => {
    const { assertion } = ctx.oidc.params;
    if (!assertion) throw new InvalidRequest('no assertion');
    // RFC 7523 §3
    const { payload } = await jwtVerify(assertion, trusted.publicKey, {
      algorithms: ['ES256'],
      audience: provider.issuer,
      issuer: ASSERTION_ISSUER,
      requiredClaims: ['exp', 'jti', 'sub'],
    }).catch((cause) => { throw new InvalidGrant({ cause }); });
    if (used.has(payload.jti)) throw new InvalidGrant('the assertion was used before');
    used.add(payload.jti);
    await respond(provider, ctx, payload.sub, scopeOf(ctx, ctx.oidc.client.scope.split(' ')));
  }, ['assertion', 'scope']);

  return (subject, { expired, untrusted }) => {
    const now = Math.floor(Date.now() / 1000);
    return new SignJWT({})
      .setProtectedHeader({ alg: 'ES256' })
      .setIssuer(ASSERTION_ISSUER)
      .setAudience(provider.issuer)
      .setSubject(subject)
      .setJti(randomUUID())
      .setExpirationTime(now + (expired ? -3600 : 3600))
      .sign((untrusted ? unknown : trusted).privateKey);
  };
}
