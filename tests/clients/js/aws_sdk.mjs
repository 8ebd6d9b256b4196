// AWS SDK for JavaScript v3. By default it sends CRC32, and for streams
// STREAMING-UNSIGNED-PAYLOAD-TRAILER in aws-chunked.
import fs from 'node:fs';
import { pipeline } from 'node:stream/promises';
import {
    CopyObjectCommand, CreateBucketCommand, DeleteObjectCommand, DeleteObjectsCommand,
    GetObjectCommand, HeadObjectCommand, PutObjectCommand, S3Client, paginateListObjectsV2,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { config, serve } from './driver.mjs';

const s3 = new S3Client({
    endpoint: config.endpoint.href, region: config.region, forcePathStyle: config.pathStyle,
    maxAttempts: 1,
});
const MULTIPART_ABOVE = 16 << 20;

async function getObject(input, path) {
    const reply = await s3.send(new GetObjectCommand(input));
    await pipeline(reply.Body, fs.createWriteStream(path));
}

await serve({
    make_bucket: (Bucket) => s3.send(new CreateBucketCommand({ Bucket })).then(() => null),

    async put(Bucket, Key, path, extra = {}) {
        const size = fs.statSync(path).size;
        const input = { Bucket, Key, Body: fs.createReadStream(path), ...extra };
        if (size > MULTIPART_ABOVE)
            await new Upload({ client: s3, params: input, partSize: 8 << 20 }).done();
        else
            await s3.send(new PutObjectCommand({ ...input, ContentLength: size }));
    },

    // A body whose bytes are all there is signed and sent in one piece.
    put_buffer: (Bucket, Key, path) =>
        s3.send(new PutObjectCommand({ Bucket, Key, Body: fs.readFileSync(path) }))
            .then(() => null),

    put_with_metadata(Bucket, Key, path, ContentType, Metadata) {
        return this.put(Bucket, Key, path, { ContentType, Metadata });
    },

    get: (Bucket, Key, path) => getObject({ Bucket, Key }, path),

    get_range: (Bucket, Key, first, last, path) =>
        getObject({ Bucket, Key, Range: `bytes=${first}-${last}` }, path),

    async head(Bucket, Key) {
        const head = await s3.send(new HeadObjectCommand({ Bucket, Key }));
        return { size: head.ContentLength, type: head.ContentType, metadata: head.Metadata };
    },

    async list(Bucket, Prefix, Delimiter) {
        const keys = [], prefixes = [];
        for await (const page of paginateListObjectsV2({ client: s3 },
            { Bucket, Prefix, Delimiter: Delimiter || undefined })) {
            keys.push(...(page.Contents ?? []).map((o) => o.Key));
            prefixes.push(...(page.CommonPrefixes ?? []).map((p) => p.Prefix));
        }
        return [keys, prefixes];
    },

    copy: (Bucket, key, Key) => s3.send(new CopyObjectCommand(
        { Bucket, Key, CopySource: encodeURI(`${Bucket}/${key}`).replaceAll('+', '%2B') }))
        .then(() => null),

    delete: (Bucket, Key) => s3.send(new DeleteObjectCommand({ Bucket, Key })).then(() => null),

    async delete_many(Bucket, keys) {
        const Objects = keys.map((Key) => ({ Key }));
        const reply = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
        if (reply.Errors?.length || reply.Deleted.length !== keys.length)
            throw new Error(JSON.stringify(reply));
    },

    presign_put: (Bucket, Key) => getSignedUrl(s3, new PutObjectCommand({ Bucket, Key })),
    presign_get: (Bucket, Key) => getSignedUrl(s3, new GetObjectCommand({ Bucket, Key })),
});
