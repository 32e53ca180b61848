/*
 * One dashboard and the alarms: errors, p99, throttles, failures of the store, cost per hour, and gateways that are
 * away. Metrics are AWS's own, but for the failures of the store, which are counted in the program's log: one line
 * `event=NAME` for each (storage/runtime/events.def).
 */
import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as sns from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import { Construct } from 'constructs';
import type { Api } from './api.ts';
import { type Data, METRICS_FILTER } from './data.ts';
import type { Gateway } from './gateway.ts';
import { output } from './outputs.ts';
import { PRICES } from './prices.ts';
import type { Settings } from './settings.ts';

/* Events that say that the store does not answer, or answers what cannot be. */
export const STORE_EVENTS = ['store_unavailable', 'store_damaged', 'journal_stopped'];

const MINUTE = { period: Duration.minutes(1) };
const HOUR = { period: Duration.hours(1), statistic: 'Sum' };
const SUM = { ...MINUTE, statistic: 'Sum' };
const MAXIMUM = { ...MINUTE, statistic: 'Maximum' };
const P99_MS = 1000;

type Metric = cloudwatch.Metric | cloudwatch.MathExpression;
/* Metrics have no label before they stand in a chart: CloudFormation takes one with a label for metric math. */
type Lines = Record<string, Metric>;
/* What is counted and costs money: its name in the sum, the metric, dollars for one. */
type Term = readonly [string, Metric, number];

export class Monitoring extends Construct {
    private readonly topic: sns.Topic;

    constructor(scope: Construct, id: string, private readonly settings: Settings, private readonly data: Data,
                private readonly api: Api, gateway?: Gateway) {
        super(scope, id);
        this.topic = new sns.Topic(this, 'Alarms', { enforceSSL: true });
        if (settings.text('alarmEmail') !== '') {
            this.topic.addSubscription(new EmailSubscription(settings.text('alarmEmail')));
        }
        const dashboard = new cloudwatch.Dashboard(this, 'Dashboard', { defaultInterval: Duration.hours(3) });
        dashboard.addWidgets(this.requests(), this.errors(), this.latency(), this.throttles(), this.storeFailures(),
                             this.cost(), ...(gateway === undefined ? [] : [this.gateways(gateway)]));
        output(this, 'AlarmTopic', this.topic.topicArn);
        output(this, 'Dashboard', dashboard.dashboardName);
    }

    /* The alarm rises when the metric lies above the threshold in `bad` of the last `of` periods. */
    private alarm(id: string, metric: Metric, threshold: number, bad: number, of: number, description: string): void {
        const alarm = new cloudwatch.Alarm(this, id, {
            metric, threshold, datapointsToAlarm: bad, evaluationPeriods: of, alarmDescription: description,
            comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
        });
        alarm.addAlarmAction(new SnsAction(this.topic));
        alarm.addOkAction(new SnsAction(this.topic));
    }

    private chart(title: string, left: Lines, right: Lines = {}): cloudwatch.GraphWidget {
        const labelled = (lines: Lines) => Object.entries(lines).map(([label, metric]) => metric.with({ label }));
        const size = { width: 12, height: 6 };
        return new cloudwatch.GraphWidget({ title, left: labelled(left), right: labelled(right), ...size });
    }

    /* What the APIs in front of the function count; the function never sees some of it. */
    private front(options: cloudwatch.MetricOptions, rest: string, http: string): Lines {
        const { restApi, httpApi } = this.api;
        return {
            ...(restApi === undefined ? {} : { 'REST API': restApi.deploymentStage.metric(rest, options) }),
            ...(httpApi === undefined ? {} : { 'HTTP API': httpApi.metric(http, options) }),
        };
    }

    private requests(): cloudwatch.IWidget {
        const { http } = this.api;
        return this.chart('Requests', { 'function': http.metricInvocations(SUM), ...this.front(SUM, 'Count', 'Count') },
                          { 'functions at once': http.metric('ConcurrentExecutions', MAXIMUM) });
    }

    private errors(): cloudwatch.IWidget {
        const http = this.api.http.metricErrors(SUM);
        const upkeep = this.api.upkeep.metricErrors(HOUR);
        const server = this.front(SUM, '5XXError', '5xx');
        this.alarm('FunctionErrors', http, 0, 2, 5, 'The function crashed, timed out or could not start.');
        this.alarm('UpkeepErrors', upkeep, 2, 1, 1, 'Upkeep failed several times within an hour: waste piles up.');
        for (const [label, metric] of Object.entries(server)) {
            this.alarm(`${label.replace(' ', '')}Errors`, metric, 5, 3, 5, `Clients of the ${label} are answered 5xx.`);
        }
        return this.chart('Errors', { 'function': http, upkeep, ...server }, this.front(SUM, '4XXError', '4xx'));
    }

    private latency(): cloudwatch.IWidget {
        const p99 = { ...MINUTE, statistic: 'p99' };
        const http = this.api.http.metricDuration(p99);
        const front = this.front(p99, 'Latency', 'Latency');
        this.alarm('FunctionP99', http, P99_MS, 3, 5, 'One request in a hundred takes the function over a second.');
        for (const [label, metric] of Object.entries(front)) {
            this.alarm(`${label.replace(' ', '')}P99`, metric, P99_MS, 3, 5,
                       `One request in a hundred takes the ${label} over a second.`);
        }
        return this.chart('Milliseconds, p99', { 'function': http, ...front },
                          { 'function, median': this.api.http.metricDuration({ ...MINUTE, statistic: 'p50' }) });
    }

    private tableMetric(metricName: string, options: cloudwatch.MetricOptions, operation?: string): cloudwatch.Metric {
        return new cloudwatch.Metric({
            namespace: 'AWS/DynamoDB', metricName, ...options,
            dimensionsMap: {
                TableName: this.data.table.tableName, ...(operation === undefined ? {} : { Operation: operation }),
            },
        });
    }

    private bucketMetric(metricName: string, options: cloudwatch.MetricOptions): cloudwatch.Metric {
        return new cloudwatch.Metric({
            namespace: 'AWS/S3', metricName, ...options,
            dimensionsMap: { BucketName: this.data.bucket.bucketName, FilterId: METRICS_FILTER },
        });
    }

    private throttles(): cloudwatch.IWidget {
        const http = this.api.http.metricThrottles(SUM);
        const writes = this.tableMetric('WriteThrottleEvents', SUM);
        const reads = this.tableMetric('ReadThrottleEvents', SUM);
        this.alarm('FunctionThrottles', http, 0, 2, 5, 'The account\'s limit of functions at once is reached.');
        this.alarm('TableWriteThrottles', writes, 10, 3, 5,
                   'DynamoDB refuses writes: a journal has more writers than it can carry.');
        this.alarm('TableReadThrottles', reads, 10, 3, 5, 'DynamoDB refuses reads.');
        return this.chart('Throttles', { 'function': http, 'table, writes': writes, 'table, reads': reads });
    }

    private storeFailures(): cloudwatch.IWidget {
        const http = this.logged('HttpStoreFailures', this.api.httpLogs);
        const upkeep = this.logged('UpkeepStoreFailures', this.api.upkeepLogs);
        // Every commit is a PutItem, every look for new ones a Query.
        const puts = this.tableMetric('SystemErrors', SUM, 'PutItem');
        const queries = this.tableMetric('SystemErrors', SUM, 'Query');
        const lines: Lines = { 'function says': http, 'upkeep says': upkeep, 'table, puts': puts,
                               'table, queries': queries };
        this.alarm('StoreFailures', http, 0, 2, 5, 'The function says that the store does not answer or is damaged.');
        this.alarm('UpkeepStoreFailures', upkeep, 0, 2, 5, 'Upkeep says that the store does not answer or is damaged.');
        this.alarm('TableWriteErrors', puts, 5, 3, 5, 'DynamoDB answers writes with errors of its own.');
        this.alarm('TableReadErrors', queries, 5, 3, 5, 'DynamoDB answers reads with errors of its own.');
        if (this.settings.yes('requestMetrics')) {
            lines['bucket'] = this.bucketMetric('5xxErrors', SUM);
            this.alarm('BucketErrors', lines['bucket'], 5, 3, 5, 'S3 answers with errors of its own.');
        }
        return this.chart('Store failures', lines);
    }

    private logged(id: string, logGroup: logs.ILogGroup): cloudwatch.Metric {
        const filter = new logs.MetricFilter(this, `${id}Filter`, {
            logGroup,
            filterPattern: logs.FilterPattern.anyTerm(...STORE_EVENTS.map((event) => `event=${event}`)),
            metricNamespace: `ServerlessStreams/${this.settings.text('name')}`,
            metricName: id,
            metricValue: '1',
            defaultValue: 0,
        });
        return filter.metric(SUM);
    }

    /* Requests and compute of one hour times their prices. Storage, logs and fixed prices are not in it, nor are the
     * few hundred requests a day for upkeep: an alarm may count ten metrics. */
    private cost(): cloudwatch.IWidget {
        const { http, upkeep, restApi, httpApi } = this.api;
        const gbSecond = PRICES.lambdaGbSecond[this.settings.text('architecture') as 'arm64' | 'x86_64'];
        const perMs = (this.settings.number('memory') / 1024) * (gbSecond / 1000);
        const parts: Record<string, Term[]> = {
            'DynamoDB': [['wcu', this.tableMetric('ConsumedWriteCapacityUnits', HOUR), PRICES.tableWriteUnit],
                         ['rcu', this.tableMetric('ConsumedReadCapacityUnits', HOUR), PRICES.tableReadUnit]],
            'Lambda': [['calls', http.metricInvocations(HOUR), PRICES.lambdaRequest],
                       ['ms', http.metricDuration(HOUR), perMs],
                       ['upkeep', upkeep.metricDuration(HOUR), perMs]],
            'S3': !this.settings.yes('requestMetrics') ? []
                : [['puts', this.bucketMetric('PutRequests', HOUR), PRICES.s3Write],
                   ['lists', this.bucketMetric('ListRequests', HOUR), PRICES.s3Write],
                   ['gets', this.bucketMetric('GetRequests', HOUR), PRICES.s3Read]],
            'REST API': restApi === undefined ? []
                : [['rest', restApi.deploymentStage.metricCount(HOUR), PRICES.restApiRequest]],
            'HTTP API': httpApi === undefined ? [] : [['http', httpApi.metricCount(HOUR), PRICES.httpApiRequest]],
        };
        const sum = (terms: Term[]) => new cloudwatch.MathExpression({
            expression: terms.map(([name, , price]) => `FILL(${name}, 0) * ${price.toFixed(13)}`).join(' + '),
            usingMetrics: Object.fromEntries(terms.map(([name, metric]) => [name, metric])), period: HOUR.period,
        });
        const lines: Lines = {};
        for (const [label, terms] of Object.entries(parts)) {
            if (terms.length > 0) {
                lines[label] = sum(terms);
            }
        }
        const all = sum(Object.values(parts).flat());
        if (this.settings.number('costPerHour') > 0) {
            this.alarm('CostPerHour', all, this.settings.number('costPerHour'), 1, 1,
                       'Requests and compute of the last hour cost more dollars than allowed.');
        }
        return this.chart('Dollars per hour, requests and compute, at the prices of us-east-1', { ...lines, all });
    }

    private gateways(gateway: Gateway): cloudwatch.IWidget {
        const { metrics } = gateway.group;
        const away = metrics.unHealthyHostCount(MAXIMUM);
        this.alarm('GatewaysAway', away, 0, 3, 5, 'A gateway is away, or says that the store is.');
        return this.chart('Gateways', { 'healthy': metrics.healthyHostCount(MAXIMUM), 'away': away },
                          { 'connections through the balancer': gateway.balancer.metrics.activeFlowCount(MINUTE) });
    }
}
