// BullMQ's part of the queue bench. node queue_bullmq.mjs ROLE PORT CONCURRENCY JOBS: prints one line of JSON.
import { Queue, Worker } from "bullmq";

const [role, port, concurrency, jobs] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
const data = { shop: "shop", request: "r1", event: "event", topic: "orders/create" };
const options = { removeOnComplete: true, removeOnFail: true };

async function fill() {
  const queue = new Queue("bull", { connection });
  for (let first = 0; first < jobs; first += 500) {
    await queue.addBulk(Array.from({ length: 500 }, () => ({ name: "process", data, opts: options })));
  }
  await queue.close();
}

async function work() {
  const before = process.cpuUsage();
  let count = 0;
  let first = 0n;
  await new Promise((resolve) => {
    new Worker(
      "bull",
      async () => {
        count += 1;
        if (count === 1) first = process.hrtime.bigint();
        if (count === jobs) resolve();
      },
      { connection, concurrency },
    );
  });
  const seconds = Number(process.hrtime.bigint() - first) / 1e9;
  const used = process.cpuUsage(before);
  const rss = process.memoryUsage().rss / 1048576;
  console.log(JSON.stringify({ jobs_per_s: jobs / seconds, cpu_us: (used.user + used.system) / jobs, rss_mb: rss }));
}

async function enqueue() {
  const queue = new Queue("bull", { connection });
  const add = () => queue.add("process", data, options);
  await Promise.all(Array.from({ length: 50 }, add));
  let started = process.hrtime.bigint();
  for (let i = 0; i < jobs; i += 1) await add();
  const oneByOne = jobs / (Number(process.hrtime.bigint() - started) / 1e9);
  const rounds = Math.max(1, Math.floor(jobs / 25));
  started = process.hrtime.bigint();
  for (let i = 0; i < rounds; i += 1) await Promise.all(Array.from({ length: 50 }, add));
  const atOnce = (rounds * 50) / (Number(process.hrtime.bigint() - started) / 1e9);
  console.log(JSON.stringify({ one_by_one: oneByOne, at_once: atOnce }));
}

await { fill, work, enqueue }[role]();
process.exit(0);
