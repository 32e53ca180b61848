/*
 * The store: one bucket and one table, laid out as storage/backends/aws/README.md says. Everything else of a deployment
 * can be thrown away and made again; these two are kept when the stack goes.
 */
import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { except } from './exceptions.ts';
import { output } from './outputs.ts';
import type { Settings } from './settings.ts';

export const METRICS_FILTER = 'all';

export class Data extends Construct {
    readonly bucket: s3.IBucket;
    readonly table: dynamodb.ITable;
    /* What --store takes. */
    readonly url: string;

    constructor(scope: Construct, id: string, settings: Settings) {
        super(scope, id);
        const existing = settings.text('bucket') !== '';
        this.bucket = existing ? s3.Bucket.fromBucketName(this, 'Bucket', settings.text('bucket'))
                               : this.makeBucket(settings);
        this.table = existing ? dynamodb.Table.fromTableName(this, 'Table', settings.text('table')) : this.makeTable();
        const prefix = settings.text('prefix');
        this.url = `s3://${this.bucket.bucketName}${prefix === '' ? '' : `/${prefix}`}?table=${this.table.tableName}`;
        output(this, 'Bucket', this.bucket.bucketName);
        output(this, 'Table', this.table.tableName);
        output(this, 'Store', this.url);
    }

    private makeBucket(settings: Settings): s3.Bucket {
        const bucket = new s3.Bucket(this, 'Bucket', {
            blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
            objectOwnership: s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            encryption: s3.BucketEncryption.S3_MANAGED,
            enforceSSL: true,
            minimumTLSVersion: 1.2,
            removalPolicy: RemovalPolicy.RETAIN,
            // Objects are deleted by facts in the journal, never by age: a rule that expires some would lose records.
            lifecycleRules: [{ id: 'abort-old-uploads', abortIncompleteMultipartUploadAfter: Duration.days(1) }],
            ...(settings.yes('requestMetrics') ? { metrics: [{ id: METRICS_FILTER }] } : {}),
        });
        except(bucket, 'S1', 'Server access logs would be one more PUT for every few requests, in a second bucket; ' +
                             'CloudTrail data events can be switched on for this bucket where an audit is wanted.');
        return bucket;
    }

    private makeTable(): dynamodb.Table {
        return new dynamodb.Table(this, 'Table', {
            partitionKey: { name: 'pk', type: dynamodb.AttributeType.STRING },
            sortKey: { name: 'sk', type: dynamodb.AttributeType.NUMBER },
            billingMode: dynamodb.BillingMode.PAY_PER_REQUEST,
            encryption: dynamodb.TableEncryption.DEFAULT,
            timeToLiveAttribute: 'expires',
            pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
            deletionProtection: true,
            removalPolicy: RemovalPolicy.RETAIN,
        });
    }
}
