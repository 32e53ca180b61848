/* What `cdk` runs. `-c plain=true` makes the one plain template instead of the stacks. */
import { App, Validations } from 'aws-cdk-lib';
import { Checks } from './exceptions.ts';
import { makePlainStack, makeStacks } from './stacks.ts';

const app = new App();
if (String(app.node.tryGetContext('plain')) === 'true') {
    makePlainStack(app);
} else {
    makeStacks(app);
}
Validations.of(app).addPlugins(new Checks(app)); // a finding without an exception fails the synthesis
