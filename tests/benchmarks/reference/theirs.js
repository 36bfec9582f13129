// The reference orchestrator service, run as its README says to run it on Lambda, with a consumer that does nothing.
//
//   node theirs.js EVENT_FILE
//
// Prints a line when the first event has been handled; then, for each number that it reads, handles so many events and
// prints the microseconds that one of them took.

const {readFileSync} = require('node:fs');
const {createInterface} = require('node:readline');
console.log = console.error; // what the service logs: standard output is for the figures

const {BootMixin} = require('@loopback/boot');
const {createBindingFromClass} = require('@loopback/core');
const {RestApplication} = require('@loopback/rest');
const {OrchestratorServiceComponent} = require('@sourceloop/ctrl-plane-orchestrator-service');
const serverlessExpress = require('@vendia/serverless-express');
const {EventBridgeConnector, QueueType, asEventHandler} = require('loopback4-message-bus-connector');

const event = JSON.parse(readFileSync(process.argv[2], 'utf8'));
let handled = 0;

class DoesNothing {
  event = event['detail-type'];
  queue = QueueType.EventBridge;

  async handle() {
    handled += 1;
  }
}

// As API Gateway brings the event to the one route that the service has for events.
const request = {
  resource: '/{proxy+}',
  path: `/event-bridge/events/${event['detail-type']}`,
  httpMethod: 'POST',
  multiValueHeaders: {'Content-Type': ['application/json'], Host: ['example.com']},
  requestContext: {stage: 'prod'},
  body: JSON.stringify(event.detail),
  isBase64Encoded: false,
};

async function main() {
  const app = new (BootMixin(RestApplication))({rest: {openApiSpec: {setServersFromRequest: true}}});
  app.projectRoot = __dirname;
  app.component(OrchestratorServiceComponent);
  app.component(EventBridgeConnector);
  app.add(createBindingFromClass(DoesNothing).apply(asEventHandler));
  await app.boot();
  const handler = serverlessExpress({app: app.restServer.requestHandler});

  async function handle(count) {
    for (let number = 0; number < count; number += 1) {
      const before = handled;
      const answer = await handler(request, {});
      if (answer.statusCode !== 200 || handled !== before + 1) {
        throw new Error(`the event was not handled: ${answer.statusCode} ${answer.body}`);
      }
    }
  }

  await handle(1);
  process.stdout.write('ready\n');
  for await (const line of createInterface({input: process.stdin})) {
    const begin = performance.now();
    await handle(Number(line));
    process.stdout.write(`${((performance.now() - begin) / Number(line)) * 1000}\n`);
  }
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});
