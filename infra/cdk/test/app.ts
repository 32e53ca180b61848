/* The app as `cdk` makes it, with small files in place of the programs. */
import { App, type Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makePlainStack, makeStacks } from '../stacks.ts';

const scratch = mkdtempSync(join(tmpdir(), 'cdk-test-'));
after(() => rmSync(scratch, { recursive: true }));
/* An empty zip archive, which is its end record alone. */
const zip = join(scratch, 'bootstrap.zip');
writeFileSync(zip, Buffer.from('504b0506' + '00'.repeat(18), 'hex'));
const binary = join(scratch, 'gateway');
writeFileSync(binary, 'not run here');

export const cdk = join(dirname(fileURLToPath(import.meta.url)), '..');
const flags = JSON.parse(readFileSync(join(cdk, 'cdk.json'), 'utf8')) as { context: object };

function app(settings: Record<string, string>): App {
    return new App({
        outdir: mkdtempSync(join(scratch, 'out-')),
        context: { ...flags.context, lambdaZip: zip, gatewayBinary: binary, ...settings },
    });
}

export function stacks(settings: Record<string, string> = {}): App {
    const made = app(settings);
    makeStacks(made);
    return made;
}

export function plain(settings: Record<string, string> = {}): App {
    const made = app(settings);
    makePlainStack(made);
    return made;
}

export function template(made: App, stack: string): Template {
    return Template.fromStack(made.node.findChild(stack) as Stack);
}

type Resource = { Type: string; Properties: Record<string, unknown> };

export function resources(made: Template, type: string): Resource[] {
    return Object.values(made.findResources(type)) as Resource[];
}
