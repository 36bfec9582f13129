// The reference orchestrator service, run as its README says to run it on Lambda, with a consumer that does nothing.
//
//   node theirs.js EVENT_FILE
//
// Prints a line when the first event has been handled; then, for each number that it reads, handles so many events and
// prints the microseconds that one of them took.

const {readFileSync, writeSync} = require('node:fs');
const {createInterface} = require('node:readline');

// Standard output is for the figures; the service's own logger writes to this stream.
process.stdout.write = process.stderr.write.bind(process.stderr);
const tell = text => writeSync(1, `${text}\n`);

const {BootMixin} = require('@loopback/boot');
const {createBindingFromClass} = require('@loopback/core');
const {RestApplication} = require('@loopback/rest');
const {OrchestratorServiceComponent} = require('@sourceloop/ctrl-plane-orchestrator-service');
const serverlessExpress = require('@vendia/serverless-express');
const {EventBridgeConnector, QueueType, asEventHandler} = require('loopback4-message-bus-connector');

const event = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const text = JSON.stringify(event.detail);
let handled = 0;
let given;

class DoesNothing {
  event = event['detail-type'];
  queue = QueueType.EventBridge;

  async handle(detail) {
    handled += 1;
    given = detail;
  }
}

// Without it the consumer is given bytes: to the parser that LoopBack comes with, a request that serverless-express
// makes has been read already.
class BodyOfLambda {
  name = 'lambda';

  supports(mediaType) {
    return mediaType.startsWith('application/json');
  }

  async parse({body}) {
    return {value: JSON.parse(body)};
  }
}

// As API Gateway brings the event to the one route that the service has for events.
const request = {
  resource: '/{proxy+}',
  path: `/event-bridge/events/${event['detail-type']}`,
  httpMethod: 'POST',
  multiValueHeaders: {'Content-Type': ['application/json'], Host: ['example.com']},
  requestContext: {stage: 'prod'},
  body: text,
  isBase64Encoded: false,
};

async function main() {
  const app = new (BootMixin(RestApplication))({rest: {openApiSpec: {setServersFromRequest: true}}});
  app.projectRoot = __dirname;
  app.component(OrchestratorServiceComponent);
  app.component(EventBridgeConnector);
  app.bodyParser(BodyOfLambda);
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
    if (JSON.stringify(given) !== text) {
      throw new Error('the consumer was not given the detail of the event');
    }
  }

  await handle(1);
  tell('ready');
  for await (const line of createInterface({input: process.stdin})) {
    const begin = performance.now();
    await handle(Number(line));
    tell(((performance.now() - begin) / Number(line)) * 1000);
  }
}

main().then(
  () => process.exit(0), // whatever timers the service has left
  error => {
    console.error(error);
    process.exit(1);
  },
);
