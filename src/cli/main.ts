#!/usr/bin/env node
/** The command: one file per sub-command beside this one. */
import { Command, CommanderError } from 'commander'
import { withQmp } from './arguments.ts'
import { auditCommand } from './audit.ts'
import { CliError, EXIT_USAGE, harmless, note } from './common.ts'
import { decodeCommand } from './decode.ts'
import { diffCommand } from './diff.ts'
import { doctorCommand } from './doctor.ts'
import { explainCommand } from './explain.ts'
import { findCommand } from './find.ts'
import { gatherCommand } from './gather.ts'
import { runCommand } from './run.ts'
import { showCommand } from './show.ts'
import { verifyCommand } from './verify.ts'
import { walkCommand } from './walk.ts'
import { watchCommand } from './watch.ts'

const program = new Command('iomm')
  .description('An IOMMU with shared virtual addressing: run it, read it, and look inside a real one.')
  .version('0.1.0')
  .showHelpAfterError('(run with --help for examples)')
  .exitOverride()
  .addHelpText(
    'after',
    `
Exit codes: 0 fine, 1 findings (a fault, a failed expectation), 2 usage, 3 unreadable input, 4 not supported.`,
  )

/** In the order of the help text. */
const COMMANDS = [
  runCommand,
  showCommand,
  walkCommand,
  explainCommand,
  findCommand,
  auditCommand,
  diffCommand,
  doctorCommand,
  gatherCommand,
  watchCommand,
  decodeCommand,
  verifyCommand,
]

for (const make of COMMANDS) {
  // Sub-commands end as the program does: with our exit codes, and a hint where the examples are.
  program.addCommand(make().copyInheritedSettings(program))
}

// A reader that went away (`| head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit()
  note(`iomm: the output cannot be written: ${error.message}`)
  process.exit(EXIT_USAGE)
})

try {
  await program.parseAsync(withQmp(process.argv.slice(2)), { from: 'user' })
} catch (error) {
  if (error instanceof CliError) {
    note(harmless(`iomm: ${error.message}`))
    process.exitCode = error.exitCode
  } else if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE
  } else throw error
}
