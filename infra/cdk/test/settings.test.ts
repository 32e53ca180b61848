import assert from 'node:assert';
import { test } from 'node:test';
import { SETTINGS } from '../settings.ts';
import { plain, stacks, template } from './app.ts';

test('a value that a setting may not have is refused with a sentence', () => {
    assert.throws(() => stacks({ architecture: 'mips' }), /architecture=mips is not what it may be \(arm64\|x86_64\)/);
    assert.throws(() => stacks({ prefix: '/a' }), /prefix=\/a /);
});

test('settings that contradict each other are refused', () => {
    assert.throws(() => stacks({ bucket: 'b' }), /bucket and table belong together/);
    assert.throws(() => stacks({ restApi: 'false', functionUrl: 'off' }), /nobody could call/);
});

test('a program that was not built is named', () => {
    assert.throws(() => stacks({ lambdaZip: '' }), /lambdaZip= is no file: infra\/deploy builds it/);
});

test('every default is a value that its setting may have', () => {
    for (const [name, row] of Object.entries(SETTINGS)) {
        assert.match(row.fallback, row.allowed, name);
    }
});

test('the name is in front of every stack', () => {
    const app = stacks({ name: 'mine' });
    for (const stack of app.synth().stacks) {
        assert.ok(stack.stackName.startsWith('mine-'), stack.stackName);
    }
});

test('in the plain template the gateway is made only where its program is named', () => {
    const made = template(plain(), 'Plain').toJSON() as { Resources: Record<string, { Condition?: string }> };
    const ids = Object.keys(made.Resources).filter((id) => made.Resources[id]?.Condition === 'WithGateway');
    assert.ok(ids.length > 20);
    const text = JSON.stringify(Object.entries(made.Resources).filter(([id]) => !ids.includes(id)));
    for (const id of ids) {
        assert.ok(!text.includes(`"${id}"`), `${id} is used where it may not be`);
    }
});

test('the plain template needs no bootstrap stack', () => {
    assert.ok(!JSON.stringify(template(plain(), 'Plain').toJSON()).includes('cdk-hnb659fds'));
});
