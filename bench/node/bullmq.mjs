// BullMQ, measured as bench/driver.py measures the others. Usage: node bullmq.mjs work|MEASURE '{"redis": …}'.
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

const CONCURRENCY = 100;
const BULK = 500;
const [measure, text] = process.argv.slice(2);
const options = JSON.parse(text);
const url = new URL(options.redis);
const connection = { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const now = () => performance.now() / 1000;

if (measure === "work") {
  const worker = new Worker("bench", async () => "ok", { connection, concurrency: CONCURRENCY });
  process.on("SIGTERM", () => worker.close().then(() => process.exit(0)));
} else {
  const queue = new Queue("bench", { connection });
  const raw = new Redis(connection);

  const submitOne = async (payload) => (await queue.add("noop", { payload })).id;
  const submit = async (count, payload = "x") => {
    const ids = [];
    for (let at = 0; at < count; at += BULK) {
      const jobs = Array.from({ length: Math.min(BULK, count - at) }, () => ({ name: "noop", data: { payload } }));
      ids.push(...(await queue.addBulk(jobs)).map((job) => job.id));
    }
    return ids;
  };
  const done = async (ids) => {
    const pipe = raw.pipeline();
    for (const id of ids) pipe.hexists(`bull:bench:${id}`, "returnvalue");
    return (await pipe.exec()).filter(([error, found]) => !error && found === 1).length;
  };
  const waitDone = async (ids, pauseMs = 5) => {
    for (let at = 0; at < ids.length; ) {
      const window = ids.slice(at, at + BULK);
      if ((await done(window.slice(-1))) && (await done(window)) === window.length) at += window.length;
      else if (pauseMs) await pause(pauseMs);
    }
  };

  const measures = {
    async throughput({ n, most_s = 0 }) {
      await waitDone(await submit(20));
      if (most_s) {
        const begun = now();
        await waitDone(await submit(300));
        n = Math.max(500, Math.min(n, Math.round(((300 / (now() - begun)) * most_s) / 100) * 100));
      }
      const started = now();
      const ids = await submit(n);
      const submitted_s = now() - started;
      await waitDone(ids);
      const seconds = now() - started;
      return { n, seconds, submitted_s, per_s: n / seconds };
    },
    async latency({ n }) {
      await waitDone(await submit(20));
      for (let i = 0; i < 5; i++) await waitDone([await submitOne("warm")], 0);
      const times = [];
      for (let i = 0; i < n; i++) {
        await pause(10);
        const started = now();
        await waitDone([await submitOne("x")], 0);
        times.push((now() - started) * 1000);
      }
      times.sort((a, b) => a - b);
      return { p50_ms: times[Math.floor(n / 2)], p99_ms: times[Math.min(n - 1, Math.floor(n * 0.99))], n };
    },
    async submission({ n_single, n_bulk }) {
      await submit(10);
      let started = now();
      for (let i = 0; i < n_single; i++) await submitOne("x");
      const single_per_s = n_single / (now() - started);
      started = now();
      await submit(n_bulk);
      return { single_per_s, bulk_per_s: n_bulk / (now() - started) };
    },
    async fill({ n, payload_bytes }) {
      await submit(n, "x".repeat(payload_bytes));
      return { n };
    },
    async once() {
      await waitDone([await submitOne("x")]);
      return {};
    },
  };
  console.log(JSON.stringify(await measures[measure](options)));
  await queue.close();
  raw.disconnect();
}
