// Sends events with the reference connector, set up as its README shows: one JSON array of its messages a line on
// standard input, answered by a line. The arguments are Redis's port and password, and the queue.
const readline = require('node:readline');
const {
  BullMQBindings,
  BullMQConnector,
  EventStreamConnectorComponent,
  QueueType,
  producerKeyForQueue,
} = require('loopback4-message-bus-connector');
const {RestApplication} = require('@loopback/rest');

async function main([port, password, queue]) {
  const app = new RestApplication();
  app.component(EventStreamConnectorComponent);
  app.bind(BullMQBindings.Config).to({
    QueueName: queue,
    redisConfig: {host: '127.0.0.1', port: Number(port), password},
    producerConfig: {defaultJobOptions: {attempts: 3, backoff: 5000}},
  });
  app.component(BullMQConnector);
  const producer = await app.get(producerKeyForQueue(QueueType.BullMQ));
  for await (const line of readline.createInterface({input: process.stdin})) {
    const messages = JSON.parse(line);
    await (messages.length === 1 ? producer.send(messages[0]) : producer.sendMultiple(messages));
    console.log('sent');
  }
  process.exit(0);
}

main(process.argv.slice(2));
