/** Runs a sub-command as the shell would, for tests: what it prints, and its exit code. */
import type { Command } from 'commander'
import { vi } from 'vitest'
import { CliError } from './common.ts'

export interface CommandResult {
  readonly stdout: string
  readonly stderr: string
  readonly exitCode: number
}

export async function runCommand(command: Command, args: readonly string[]): Promise<CommandResult> {
  const written = { stdout: '', stderr: '' }
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      written[name] += String(text)
      return true
    }),
  )
  const before = process.exitCode
  process.exitCode = 0
  try {
    await command.exitOverride().parseAsync([...args], { from: 'user' })
    return { ...written, exitCode: Number(process.exitCode) }
  } catch (error) {
    if (!(error instanceof CliError)) throw error
    return { ...written, stderr: `${written.stderr}iomm: ${error.message}\n`, exitCode: error.exitCode }
  } finally {
    process.exitCode = before
    for (const spy of spies) spy.mockRestore()
  }
}
