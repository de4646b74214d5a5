// Writes src/api/schema.d.ts from the gateway's OpenAPI document; with --check, fails when it is not current.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import openapiTS, { astToString } from 'openapi-typescript'

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const target = join(root, 'ui', 'src', 'api', 'schema.d.ts')
const ours = join(root, '.venv', 'bin', 'python')
const python = process.env['SOPHIA_PYTHON'] ?? (existsSync(ours) ? ours : 'python3')

const document = execFileSync(python, ['-m', 'sophia.gateway.openapi'], {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 64 * 1024 * 1024,
})
const tree = await openapiTS(document, {
  alphabetize: true,
  defaultNonNullable: false,
  emptyObjectsUnknown: true,
})
const wanted = `// Generated from the gateway's OpenAPI document by "npm run types". Do not edit.\n\n${astToString(tree)}`

if (!process.argv.includes('--check')) {
  writeFileSync(target, wanted)
} else if (!existsSync(target) || readFileSync(target, 'utf8') !== wanted) {
  console.error(
    'src/api/schema.d.ts does not match the gateway: run "npm run types" in ui/ and commit the result',
  )
  process.exitCode = 1
}
