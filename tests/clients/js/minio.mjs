// minio-js. It asks GET ?location first, and lists multipart uploads to resume one.
import fs from 'node:fs';
import { pipeline } from 'node:stream/promises';
import * as minio from 'minio';
import { config, serve } from './driver.mjs';

const client = new minio.Client({
    endPoint: config.endpoint.hostname, port: Number(config.endpoint.port),
    useSSL: config.endpoint.protocol === 'https:', pathStyle: config.pathStyle,
    accessKey: config.accessKey, secretKey: config.secretKey, partSize: 8 << 20,
});

function listAll(bucket, prefix, recursive) {
    return new Promise((resolve, reject) => {
        const keys = [], prefixes = [];
        client.listObjectsV2(bucket, prefix, recursive)
            .on('data', (o) => {
                if (o.prefix === undefined)
                    keys.push(o.name);
                else
                    prefixes.push(o.prefix);
            })
            .on('error', reject)
            .on('end', () => resolve([keys, prefixes]));
    });
}

await serve({
    make_bucket: (bucket) => client.makeBucket(bucket),

    // putObject with a stream: above partSize it is a multipart upload.
    put: (bucket, key, path) =>
        client.putObject(bucket, key, fs.createReadStream(path), fs.statSync(path).size)
            .then(() => null),

    put_with_metadata: (bucket, key, path, type, metadata) =>
        client.fPutObject(bucket, key, path, { 'Content-Type': type, ...metadata })
            .then(() => null),

    async get(bucket, key, path) {
        await pipeline(await client.getObject(bucket, key), fs.createWriteStream(path));
    },

    async get_range(bucket, key, first, last, path) {
        const part = await client.getPartialObject(bucket, key, first, last - first + 1);
        await pipeline(part, fs.createWriteStream(path));
    },

    async head(bucket, key) {
        const { size, metaData } = await client.statObject(bucket, key);
        return { size, type: metaData['content-type'], metadata: metaData };
    },

    list: (bucket, prefix, delimiter) => listAll(bucket, prefix, delimiter === ''),

    copy: (bucket, key, newKey) =>
        client.copyObject(bucket, newKey, `/${bucket}/${key}`).then(() => null),

    delete: (bucket, key) => client.removeObject(bucket, key),
    delete_many: (bucket, keys) => client.removeObjects(bucket, keys).then(() => null),
    presign_put: (bucket, key) => client.presignedPutObject(bucket, key, 60),
    presign_get: (bucket, key) => client.presignedGetObject(bucket, key, 60),
});
