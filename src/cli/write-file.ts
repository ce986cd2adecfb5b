/** Output files: written beside their place and then renamed, so that nobody sees half of one, and a failure leaves the old one. */
import { rename, rm, writeFile } from 'node:fs/promises'
import { CliError, EXIT_USAGE } from './common.ts'

/** @throws CliError when the file cannot be written. */
export async function writeWhole(path: string, contents: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`
  try {
    await writeFile(temporary, contents)
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw new CliError(EXIT_USAGE, `cannot write ${path}: ${(error as Error).message}`)
  }
}
