/*
 * Who may do what with the store, action by action and prefix by prefix. Two parties:
 *
 *   writer    serves clients: the function, the gateway. Reads everything of the store, adds objects, writes the table.
 *   upkeep    the same, and lists and deletes objects: it alone collects what nothing refers to.
 *
 * Nobody scans, updates or deletes the table, changes the bucket, or sees anything outside the store's prefix. The
 * table's actions are those that storage/backends/aws uses: GetItem, PutItem (conditional: the journal), Query,
 * BatchWriteItem (deletes slots below a checkpoint, and a lease that is given up).
 *
 * S3 answers a GET of an object that is not there with 404 only to who holds ListBucket, and to others with 403, as
 * if it were forbidden (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html). A program that could not
 * tell the two apart could neither found a store nor see that an object was collected. So a writer holds it for the
 * answer to a GET, which has no s3:prefix; a listing that names a prefix is refused.
 */
import * as iam from 'aws-cdk-lib/aws-iam';
import type { Data } from './data.ts';
import { except } from './exceptions.ts';
import type { Settings } from './settings.ts';

export type Party = 'writer' | 'upkeep';

/* Objects by kind, as in DESIGN's layout of the bucket; `store` is the record that names the table. */
const OBJECTS = ['store', 'ingest/*', 'checkpoints/*', 'topics/*'];
const OBJECTS_DELETED = ['ingest/*', 'checkpoints/*', 'topics/*'];
const TABLE_ACTIONS = ['BatchWriteItem', 'GetItem', 'PutItem', 'Query'];

export function permit(party: Party, role: iam.Role, data: Data, settings: Settings,
                       more: iam.PolicyStatement[]): iam.Policy {
    const prefix = settings.text('prefix') === '' ? '' : `${settings.text('prefix')}/`;
    const objects = (names: readonly string[]) => names.map((name) => data.bucket.arnForObjects(prefix + name));
    const statements = [
        new iam.PolicyStatement({
            sid: 'Objects', actions: ['s3:GetObject', 's3:PutObject'], resources: objects(OBJECTS),
        }),
        new iam.PolicyStatement({
            sid: 'Table',
            actions: TABLE_ACTIONS.map((action) => `dynamodb:${action}`),
            resources: [data.table.tableArn],
        }),
    ];
    if (party === 'writer') {
        statements.push(new iam.PolicyStatement({
            sid: 'TellAbsent',
            actions: ['s3:ListBucket'],
            resources: [data.bucket.bucketArn],
            conditions: { StringEqualsIfExists: { 's3:prefix': [`${prefix}store`] } },
        }));
    } else {
        statements.push(
            new iam.PolicyStatement({
                sid: 'Collect', actions: ['s3:DeleteObject'], resources: objects(OBJECTS_DELETED),
            }),
            new iam.PolicyStatement({
                sid: 'List',
                actions: ['s3:ListBucket'],
                resources: [data.bucket.bucketArn],
                conditions: { StringLikeIfExists: { 's3:prefix': OBJECTS_DELETED.map((name) => prefix + name) } },
            }),
        );
    }
    const policy = new iam.Policy(role, 'Policy', { statements: [...statements, ...more] });
    policy.attachToRole(role);
    except(policy, 'IAM5', 'The wildcards stand behind the prefixes of the store\'s own objects, whose names are ' +
                           'made at run time.');
    return policy;
}
