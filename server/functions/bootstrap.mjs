// Runs Lambda handlers in Node.js: asks kist's Runtime API for work, calls the handler, answers.
import http from "node:http";
import { createRequire } from "node:module";
import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { format } from "node:util";

const TASK = process.env.LAMBDA_TASK_ROOT || "/var/task";
const [HOST, PORT] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const API = "/2018-06-01/runtime/";
const STREAMS = Symbol.for("aws.lambda.runtime.handler.streaming");
const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
let currentId = "";

globalThis.awslambda = {
  streamifyResponse(handler) {
    handler[STREAMS] = "response";
    return handler;
  },
  HttpResponseStream: {
    from(stream, metadata) {
      stream.setContentType("application/vnd.awslambda.http-integration-response");
      stream.write(JSON.stringify(metadata));
      stream.write(Buffer.alloc(8));
      return stream;
    },
  },
};

function ask(method, path, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: HOST, port: PORT, path: API + path, method, agent,
      headers: body === undefined ? headers
        : { "Content-Length": Buffer.byteLength(body), ...headers } }, (reply) => {
      const parts = [];
      reply.on("data", (part) => parts.push(part));
      reply.on("end", () => resolve({ status: reply.statusCode, headers: reply.headers,
        body: Buffer.concat(parts).toString() }));
      reply.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

function describe(error) {
  if (!(error instanceof Error)) {
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  }
  return { errorType: error.name, errorMessage: error.message,
    trace: String(error.stack || "").split("\n") };
}

function report(path, error) {
  const record = describe(error);
  return ask("POST", path, JSON.stringify(record), { "Content-Type": "application/json",
    "Lambda-Runtime-Function-Error-Type": record.errorType.replace(/[^\w.]/g, "") });
}

function makeContext(headers) {
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  const client = headers["lambda-runtime-client-context"];
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    clientContext: client ? JSON.parse(client) : undefined,
    identity: undefined,
    getRemainingTimeInMillis: () => Math.max(deadline - Date.now(), 0),
  };
}

// Handlers answer by a promise, a callback, or context.succeed() and its kin.
function callHandler(handler, event, context) {
  return new Promise((resolve, reject) => {
    const callback = (error, value) => (error ? reject(error) : resolve(value));
    context.succeed = resolve;
    context.fail = reject;
    context.done = callback;
    const value = handler(event, context, callback);
    if (value && typeof value.then === "function") {
      value.then(resolve, reject);
    } else if (handler.length < 3 && value !== undefined) {
      resolve(value);
    } else if (handler.length < 2 && value === undefined) {
      resolve(null);
    }
  });
}

function openStream(path) {
  const request = http.request({ host: HOST, port: PORT, path: API + path, method: "POST", agent,
    headers: { "Lambda-Runtime-Function-Response-Mode": "streaming",
      "Transfer-Encoding": "chunked",
      "Content-Type": "application/octet-stream",
      Trailer: "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body" } });
  request.setContentType = (type) => request.setHeader("Content-Type", type);
  request.answered = new Promise((resolve, reject) => {
    request.on("response", (reply) => {
      reply.resume();
      reply.on("end", resolve);
    });
    request.on("error", reject);
  });
  return request;
}

async function stream(handler, event, context, path) {
  const out = openStream(path + "/response");
  try {
    await handler(event, out, context);
    if (!out.writableEnded) out.end();
  } catch (error) {
    const record = describe(error);
    console.error(error);
    if (!out.headersSent) {
      out.destroy();
      out.answered.catch(() => {});
      await report(path + "/error", error);
      return;
    }
    out.addTrailers({ "Lambda-Runtime-Function-Error-Type": record.errorType,
      "Lambda-Runtime-Function-Error-Body":
        Buffer.from(JSON.stringify({ ...record, trace: [] })).toString("base64").slice(0, 4000) });
    out.end();
  }
  await out.answered;
}

async function load() {
  const name = process.env._HANDLER;
  const dot = name.indexOf(".", name.lastIndexOf("/") + 1);
  if (dot < 0) {
    throw Object.assign(new Error(`Bad handler ${name}`), { name: "Runtime.MalformedHandlerName" });
  }
  const base = `${TASK}/${name.slice(0, dot)}`;
  const require = createRequire(`${TASK}/`);
  const file = [".js", ".mjs", ".cjs"].map((end) => base + end).find((path) => existsSync(path));
  let module;
  if (!file) {
    throw Object.assign(new Error(`Cannot find module '${name.slice(0, dot)}'`),
      { name: "Runtime.ImportModuleError" });
  } else if (file.endsWith(".mjs")) {
    module = await import(pathToFileURL(file));
  } else {
    try {
      module = require(file);
    } catch (error) {
      // "type": "module" in package.json, or code that only reads as one.
      const esm = error.code === "ERR_REQUIRE_ESM" || (error instanceof SyntaxError
        && /import statement|Unexpected token 'export'/.test(error.message));
      if (!esm) throw error;
      module = await import(pathToFileURL(file));
    }
  }
  const handler = name.slice(dot + 1).split(".").reduce((at, part) => at && at[part], module)
    ?? module.default?.[name.slice(dot + 1)];
  if (typeof handler !== "function") {
    throw Object.assign(new Error(`${name} is undefined or not exported`),
      { name: "Runtime.HandlerNotFound" });
  }
  return handler;
}

for (const level of ["debug", "info", "log", "warn", "error"]) {
  const print = console[level].bind(console);
  const shown = level === "log" ? "INFO" : level.toUpperCase();
  if (process.env.AWS_LAMBDA_LOG_FORMAT === "JSON") {
    console[level] = (...all) => {
      const error = all.find((a) => a instanceof Error);
      print(JSON.stringify({
        timestamp: new Date().toISOString(), level: shown, requestId: currentId || undefined,
        message: format(...all), ...(error && { errorType: error.name, errorMessage: error.message,
          stackTrace: String(error.stack).split("\n") }),
      }));
    };
    continue;
  }
  console[level] = (first, ...rest) => print(
    `${new Date().toISOString()}\t${currentId || "undefined"}\t${shown}\t${
      typeof first === "string" ? first : ""}`,
    ...(typeof first === "string" ? rest : [first, ...rest]));
}

async function serve(handler) {
  for (;;) {
    const { status, headers, body } = await ask("GET", "invocation/next");
    if (status !== 200) {
      process.stderr.write(`the Runtime API refuses work: ${status}\n`);
      process.exit(1);
    }
    currentId = headers["lambda-runtime-aws-request-id"];
    process.env._X_AMZN_TRACE_ID = headers["lambda-runtime-trace-id"] || "";
    const path = `invocation/${currentId}`;
    let text;
    try {
      const event = JSON.parse(body);
      const context = makeContext(headers);
      if (handler[STREAMS]) {
        await stream(handler, event, context, path);
        continue;
      }
      const value = await callHandler(handler, event, context);
      text = JSON.stringify(value === undefined ? null : value);
    } catch (error) {
      console.error("Invoke Error", error);
      await report(`${path}/error`, error);
      continue;
    }
    await ask("POST", `${path}/response`, text, { "Content-Type": "application/json" });
  }
}

function crash(error) {
  console.error("Uncaught Exception", error);
  const path = currentId ? `invocation/${currentId}/error` : "init/error";
  report(path, error).finally(() => process.exit(1));
}
process.on("uncaughtException", crash);
process.on("unhandledRejection", crash);

try {
  await serve(await load());
} catch (error) {
  console.error("Init Error", error);
  await report("init/error", error);
  process.exit(1);
}
