// Serves one S3 client to the Python workflow: a JSON command per line on stdin, a JSON reply
// per line on stdout. A client is an object of async verbs, named as in tests/lib/workflow.py.
import dns from 'node:dns';
import readline from 'node:readline';

// Virtual-host names need no name service here: they are all this machine.
const realLookup = dns.lookup;
dns.lookup = (host, options, callback) =>
    realLookup(host.endsWith(process.env.KIST_DOMAIN) ? '127.0.0.1' : host, options, callback);

export const config = {
    endpoint: new URL(process.env.KIST_ENDPOINT),
    pathStyle: process.env.KIST_VHOST !== '1',
    region: process.env.AWS_REGION,
    accessKey: process.env.AWS_ACCESS_KEY_ID,
    secretKey: process.env.AWS_SECRET_ACCESS_KEY,
};

export async function serve(client) {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const { verb, args } = JSON.parse(line);
        let reply;
        try {
            reply = { value: (await client[verb](...args)) ?? null };
        } catch (error) {
            reply = { error: `${error.name} ${error.code ?? ''}\n${error.stack}` };
        }
        process.stdout.write(JSON.stringify(reply) + '\n');
    }
}
