// redis_clients.test.mjs - what applications see of the Redis door, through ioredis and node-redis.
// SPDX-License-Identifier: Apache-2.0
//
// CAIRN_PORT names the port of a running server (CAIRN_HOST, 127.0.0.1). Keys begin with a prefix of this run, so that it may
// run against a server in use; nothing is flushed. It passes against Redis 7.0 too, but for what is marked cairn below.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import Redis from 'ioredis';
import { createClient, createCluster } from 'redis';

const port = Number(process.env.CAIRN_PORT);
const host = process.env.CAIRN_HOST ?? '127.0.0.1';
const skip = Number.isInteger(port) && port > 0 ? false : 'CAIRN_PORT is not set';
const prefix = `t${randomBytes(6).toString('hex')}:`;
const k = (name) => prefix + name;

// Each adapter gives the few calls the shared tests need; the rest of a client's own interface has tests of its own below.
const adapters = [
  {
    name: 'ioredis',
    open: async () => {
      const client = new Redis({ port, host, lazyConnect: true });
      await client.connect();
      return { client, call: (...args) => client.call(...args), close: () => client.quit() };
    },
  },
  ...[2, 3].map((RESP) => ({
    name: `node-redis, RESP${RESP}`,
    open: async () => {
      const client = createClient({ socket: { port, host }, RESP });
      client.on('error', () => {});
      await client.connect();
      return { client, call: (...args) => client.sendCommand(args.map(String)), close: () => client.close() };
    },
  })),
];

const pairs = (reply) => (Array.isArray(reply) ? Object.fromEntries(reply.flatMap((v, i) => (i % 2 ? [] : [[v, reply[i + 1]]]))) : { ...reply });

for (const [number, adapter] of adapters.entries()) {
  describe(adapter.name, { skip }, () => {
    const own = `${prefix}${number}:`;
    const k = (name) => own + name;
    let c;
    before(async () => { c = await adapter.open(); });
    after(async () => { await c?.close(); });

    it('reads what it wrote', async () => {
      assert.equal(await c.call('SET', k('s'), 'value'), 'OK');
      assert.equal(await c.call('GET', k('s')), 'value');
      assert.equal(await c.call('GET', k('none')), null);
      assert.equal(await c.call('SET', k('s'), 'x', 'NX'), null);
      assert.equal(await c.call('SET', k('s'), 'y', 'GET'), 'value');
      assert.equal(await c.call('APPEND', k('s'), 'z'), 2);
      assert.equal(await c.call('STRLEN', k('s')), 2);
      assert.equal(await c.call('GETRANGE', k('s'), '0', '-1'), 'yz');
      assert.equal(await c.call('GETDEL', k('s')), 'yz');
      assert.equal(await c.call('EXISTS', k('s')), 0);
    });

    it('counts', async () => {
      assert.equal(await c.call('INCR', k('n')), 1);
      assert.equal(await c.call('INCRBY', k('n'), '41'), 42);
      assert.equal(await c.call('DECR', k('n')), 41);
      assert.equal(await c.call('INCRBYFLOAT', k('n'), '0.5'), '41.5');
      await c.call('SET', k('text'), 'abc');
      await assert.rejects(async () => c.call('INCR', k('text')), /value is not an integer or out of range/);
    });

    it('expires', async () => {
      await c.call('SET', k('e'), 'v', 'EX', '100');
      const ttl = await c.call('TTL', k('e'));
      assert.ok(ttl > 95 && ttl <= 100, `ttl ${ttl}`);
      assert.equal(await c.call('PERSIST', k('e')), 1);
      assert.equal(await c.call('TTL', k('e')), -1);
      assert.equal(await c.call('TTL', k('none')), -2);
      await c.call('SET', k('e'), 'v', 'PX', '1');
      // A leader's clock may stand up to a second ahead after it began to lead: what it sets lives as much longer.
      for (const end = Date.now() + 10000; Date.now() < end && (await c.call('GET', k('e'))) !== null;);
      assert.equal(await c.call('GET', k('e')), null);
    });

    it('keeps hashes', async () => {
      assert.equal(await c.call('HSET', k('h'), 'a', '1', 'b', '2'), 2);
      assert.equal(await c.call('HGET', k('h'), 'a'), '1');
      assert.deepEqual(pairs(await c.call('HGETALL', k('h'))), { a: '1', b: '2' });
      assert.deepEqual(await c.call('HMGET', k('h'), 'b', 'none'), ['2', null]);
      assert.equal(await c.call('HINCRBY', k('h'), 'a', '9'), 10);
      assert.equal(await c.call('HDEL', k('h'), 'a', 'none'), 1);
      assert.equal(await c.call('TYPE', k('h')), 'hash');
      await assert.rejects(async () => c.call('GET', k('h')), /WRONGTYPE/);
    });

    it('takes keys of many slots in one command', async () => {
      const names = Array.from({ length: 50 }, (_, i) => k(`m${i}`));
      assert.equal(await c.call('MSET', ...names.flatMap((n, i) => [n, String(i)])), 'OK');
      assert.deepEqual(await c.call('MGET', ...names, k('none')), [...names.map((_, i) => String(i)), null]);
      assert.equal(await c.call('EXISTS', ...names), 50);
      assert.equal(await c.call('DEL', ...names, k('none')), 50);
    });

    it('keeps bits', async () => {
      assert.equal(await c.call('SETBIT', k('bits'), '7', '1'), 0);
      assert.equal(await c.call('GETBIT', k('bits'), '7'), 1);
      assert.equal(await c.call('BITCOUNT', k('bits')), 1);
    });

    it('finds all keys by SCAN', async () => {
      const names = new Set();
      for (let i = 0; i < 200; i++) await c.call('SET', k(`scan${i}`), 'v');
      let cursor = '0';
      do {
        const [next, found] = await c.call('SCAN', cursor, 'MATCH', `${own}scan*`, 'COUNT', '50');
        found.forEach((n) => names.add(n));
        cursor = next;
      } while (cursor !== '0');
      assert.equal(names.size, 200);
    });

    it('answers a pipeline in order', async () => {
      const replies = await Promise.all(Array.from({ length: 300 }, (_, i) => (i % 3 === 2
        ? c.call('GET', k(`p${i % 30}`))
        : c.call('SET', k(`p${i % 30}`), String(i)))));
      replies.forEach((r, i) => { if (i % 3 !== 2) assert.equal(r, 'OK'); });
      const counts = await Promise.all(Array.from({ length: 200 }, () => c.call('INCR', k('pc'))));
      assert.deepEqual(counts, Array.from({ length: 200 }, (_, i) => i + 1));
    });

    it('reports errors in words', async () => {
      await assert.rejects(async () => c.call('NOSUCH', 'x'), /unknown command 'NOSUCH'/);
      await assert.rejects(async () => c.call('GET'), /wrong number of arguments for 'get' command/);
      await assert.rejects(async () => c.call('SELECT', '99'), /DB index is out of range|not allowed in cluster mode/);
    });

    it('describes itself', async () => {
      assert.equal(await c.call('PING'), 'PONG');
      assert.equal(await c.call('ECHO', 'hi'), 'hi');
      assert.match(String(await c.call('INFO')), /redis_version:7\.\d/);
      assert.ok((await c.call('COMMAND', 'COUNT')) > 50);
      assert.deepEqual(await c.call('COMMAND', 'GETKEYS', 'GET', 'a'), ['a']);
      assert.equal(await c.call('CLIENT', 'SETNAME', 'tester'), 'OK');
      assert.equal(await c.call('CLIENT', 'GETNAME'), 'tester');
      assert.match(String(await c.call('CLIENT', 'LIST')), /name=tester/);
      assert.ok((await c.call('DBSIZE')) >= 0);
      assert.equal((await c.call('TIME')).length, 2);
    });
  });
}

describe('ioredis, its own interface', { skip }, () => {
  let a, b;
  before(() => { a = new Redis({ port, host }); b = new Redis({ port, host }); });
  after(async () => { await a?.quit(); await b?.quit(); });

  it('passes binary values of any size', async () => {
    const value = randomBytes(3 << 20);
    assert.equal(await a.set(k('bin'), value), 'OK');
    assert.deepEqual(await a.getBuffer(k('bin')), value);
    assert.equal(await a.del(k('bin')), 1);
  });

  it('runs MULTI', async () => {
    const t = k('{tx}');
    assert.deepEqual(await a.multi().set(`${t}a`, '1').incr(`${t}a`).get(`${t}a`).exec(), [[null, 'OK'], [null, 2], [null, '2']]);
    const bad = await a.multi().set(`${t}a`, 'x').incr(`${t}a`).set(`${t}b`, 'y').exec();
    assert.match(bad[1][0].message, /not an integer/);
    assert.equal(await a.get(`${t}b`), 'y');
  });

  it('WATCH sees the writes of others', async () => {
    const key = k('{w}k');
    await a.set(key, '1');
    await a.watch(key);
    await b.set(key, '2');
    assert.equal(await a.multi().set(key, '3').exec(), null);
    await a.watch(key);
    assert.deepEqual(await a.multi().set(key, '3').exec(), [[null, 'OK']]);
    assert.equal(await b.get(key), '3');
  });

  it('streams a scan', async () => {
    await a.mset(Object.fromEntries(Array.from({ length: 30 }, (_, i) => [k(`st${i}`), 'v'])));
    const found = new Set();
    for await (const page of a.scanStream({ match: `${prefix}st*` })) page.forEach((n) => found.add(n));
    assert.equal(found.size, 30);
  });

  it('counts increments of many connections exactly', async () => {
    const clients = Array.from({ length: 8 }, () => new Redis({ port, host }));
    await Promise.all(clients.flatMap((c) => Array.from({ length: 100 }, () => c.incr(k('many')))));
    assert.equal(await a.get(k('many')), '800');
    await Promise.all(clients.map((c) => c.quit()));
  });
});

describe('node-redis, its own interface', { skip }, () => {
  let c;
  before(async () => {
    c = createClient({ socket: { port, host } });
    c.on('error', () => {});
    await c.connect();
  });
  after(async () => { await c?.close(); });

  it('uses typed replies', async () => {
    await c.hSet(k('hh'), { a: '1', b: '2' });
    assert.deepEqual({ ...(await c.hGetAll(k('hh'))) }, { a: '1', b: '2' });
    assert.deepEqual(await c.mGet([k('none'), k('none2')]), [null, null]);
    assert.equal(await c.set(k('x'), 'v', { expiration: { type: 'EX', value: 10 }, condition: 'NX' }), 'OK');
  });

  it('runs MULTI, and WATCH on a connection of its own', async () => {
    const key = k('{nw}k');
    assert.deepEqual(await c.multi().set(key, '1').incr(key).exec(), ['OK', 2]);
    const other = c.duplicate();
    other.on('error', () => {});
    await other.connect();
    await other.watch(key);
    await c.set(key, '9');
    await assert.rejects(other.multi().set(key, '3').exec(), /watched keys has been changed/i);
    await other.close();
  });
});

// cairn: Redis answers CLUSTER only in cluster mode.
describe('cluster clients', { skip }, () => {
  let known = false;
  before(async () => {
    const probe = new Redis({ port, host });
    known = await probe.cluster('SLOTS').then((slots) => slots.length > 0, () => false);
    await probe.quit();
  });

  it('ioredis finds its way by CLUSTER SLOTS', async (t) => {
    if (!known) return t.skip('the server is not a cluster');
    const cluster = new Redis.Cluster([{ port, host }]);
    await Promise.all(Array.from({ length: 100 }, (_, i) => cluster.set(k(`c${i}`), String(i))));
    for (let i = 0; i < 100; i++) assert.equal(await cluster.get(k(`c${i}`)), String(i));
    await cluster.quit();
  });

  it('node-redis finds its way by CLUSTER SLOTS', async (t) => {
    if (!known) return t.skip('the server is not a cluster');
    const cluster = createCluster({ rootNodes: [{ socket: { port, host } }] });
    cluster.on('error', () => {});
    await cluster.connect();
    await Promise.all(Array.from({ length: 100 }, (_, i) => cluster.set(k(`d${i}`), String(i))));
    for (let i = 0; i < 100; i++) assert.equal(await cluster.get(k(`d${i}`)), String(i));
    await cluster.close();
  });
});
