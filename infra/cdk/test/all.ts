/* In one process: to load the library takes longer than the tests. */
import './api.test.ts';
import './data.test.ts';
import './gateway.test.ts';
import './monitoring.test.ts';
import './permissions.test.ts';
import './rules.test.ts';
import './settings.test.ts';
