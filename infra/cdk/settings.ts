/*
 * What a deployment may choose. One table: name, default, what is allowed, and a sentence for people. Values come from
 * CDK's context (`-c name=value`; infra/deploy takes `--name value`); a wrong one stops the synthesis with a sentence.
 */
import type { Node } from 'constructs';

interface Row {
    readonly fallback: string;
    readonly metavar: string;
    readonly allowed: RegExp;
    readonly help: string;
}

const BOOL = { metavar: 'true|false', allowed: /^(true|false)$/ };
const NAME = { metavar: 'NAME', allowed: /^[a-zA-Z0-9._-]*$/ };
const FILE = { metavar: 'FILE', allowed: /^.*$/ };

export const SETTINGS = {
    name: {
        fallback: 'serverless-streams', metavar: 'NAME', allowed: /^[a-zA-Z][a-zA-Z0-9-]{0,63}$/,
        help: 'in front of the name of every stack; two names are two deployments',
    },
    bucket: {
        fallback: '', ...NAME,
        help: 'an existing bucket to use instead of a new one (with table: the store of an earlier deployment)',
    },
    table: { fallback: '', ...NAME, help: 'an existing table to use instead of a new one' },
    prefix: {
        fallback: '', metavar: 'PATH', allowed: /^([a-zA-Z0-9._-]+(\/[a-zA-Z0-9._-]+)*)?$/,
        help: 'folder of the bucket that holds the store; empty: its top',
    },
    architecture: {
        fallback: 'arm64', metavar: 'arm64|x86_64', allowed: /^(arm64|x86_64)$/, help: 'processor of the functions',
    },
    lambdaZip: { fallback: '', ...FILE, help: 'the zip with bootstrap; infra/deploy builds it' },
    memory: {
        fallback: '512', metavar: 'MB', allowed: /^[1-9][0-9]{2,4}$/,
        help: 'memory of the functions, and with it their share of a processor',
    },
    auth: {
        fallback: 'none', metavar: 'none|iam', allowed: /^(none|iam)$/,
        help: 'who may call REST and HTTP API: anyone who knows the address, or callers whom IAM allows',
    },
    restApi: { fallback: 'true', ...BOOL, help: 'an API Gateway REST API' },
    httpApi: { fallback: 'false', ...BOOL, help: 'an API Gateway HTTP API, at less than a third of the price' },
    functionUrl: {
        fallback: 'iam', metavar: 'none|iam|off', allowed: /^(none|iam|off)$/,
        help: 'the function\'s own URL, which costs nothing: for anyone, for callers whom IAM allows, or not at all',
    },
    streaming: {
        fallback: 'none', metavar: 'none|url|rest|both', allowed: /^(none|url|rest|both)$/,
        help: 'which front ends pass an answer on while it is made: the function\'s own URL, the REST API',
    },
    apiGatewayRole: {
        fallback: 'true', ...BOOL,
        help: 'make the role by which API Gateway writes logs, one for the account and region; false: there is one',
    },
    upkeepMinutes: {
        fallback: '5', metavar: 'N', allowed: /^([2-9]|[1-9][0-9]{1,3})$/, help: 'the upkeep function runs so often',
    },
    gateway: { fallback: 'false', ...BOOL, help: 'the Kafka gateway beside it' },
    gatewayBinary: { fallback: '', ...FILE, help: 'the static gateway program; infra/deploy builds it' },
    gatewayCount: {
        fallback: '2', metavar: 'N', allowed: /^[1-9][0-9]?$/, help: 'gateways, spread over two zones',
    },
    gatewayInstance: {
        fallback: 't4g.small', metavar: 'TYPE', allowed: /^[a-z0-9-]+\.[a-z0-9-]+$/,
        help: 'EC2 instance type of a gateway: arm64',
    },
    clients: {
        fallback: '', metavar: 'CIDR,...', allowed: /^([0-9.]+\/[0-9]+(,[0-9.]+\/[0-9]+)*)?$/,
        help: 'addresses that may connect to the gateway besides those of its own network',
    },
    requestMetrics: {
        fallback: 'true', ...BOOL,
        help: 'S3 request metrics, from which S3\'s part of the cost per hour is counted (CloudWatch bills them)',
    },
    costPerHour: {
        fallback: '1', metavar: 'DOLLARS', allowed: /^[0-9]+(\.[0-9]+)?$/,
        help: 'alarm when requests and compute of an hour cost more than this; 0: no such alarm',
    },
    alarmEmail: {
        fallback: '', metavar: 'ADDRESS', allowed: /^([^@\s]+@[^@\s]+)?$/, help: 'where alarms are sent',
    },
} satisfies Record<string, Row>;

type Name = keyof typeof SETTINGS;

export class Settings {
    private readonly values = new Map<string, string>();

    constructor(node: Node) {
        for (const [name, row] of Object.entries<Row>(SETTINGS)) {
            const given: unknown = node.tryGetContext(name);
            const value = given === undefined ? row.fallback : String(given);
            if (!row.allowed.test(value)) {
                throw new Error(`${name}=${value} is not what it may be (${row.metavar}): ${row.help}`);
            }
            this.values.set(name, value);
        }
        if ((this.text('bucket') === '') !== (this.text('table') === '')) {
            throw new Error('bucket and table belong together: name both or neither');
        }
        if (!this.yes('restApi') && !this.yes('httpApi') && this.text('functionUrl') === 'off') {
            throw new Error('restApi, httpApi and functionUrl are all off: nobody could call the function');
        }
    }

    text(name: Name): string {
        return this.values.get(name) as string;
    }

    number(name: Name): number {
        return Number(this.text(name));
    }

    yes(name: Name): boolean {
        return this.text(name) === 'true';
    }
}
