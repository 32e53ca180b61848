/* Prints the settings, for `infra/deploy --help`. */
import { SETTINGS } from './settings.ts';

for (const [name, row] of Object.entries(SETTINGS)) {
    console.log(`  --${name} ${row.metavar}${row.fallback === '' ? '' : ` (${row.fallback})`}\n        ${row.help}`);
}
