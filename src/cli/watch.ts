/** `iomm watch`: a running guest's picture, and what changes in it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Command, InvalidArgumentError } from 'commander'
import { diffMachines, isEmptyDiff } from '../inspect/diff.ts'
import { renderPicture } from '../render/index.ts'
import { CliError, colourFor, EXIT_USAGE, note, print } from './common.ts'
import { diffText } from './diff-text.ts'
import { withInputErrors } from './input.ts'
import { connectLive } from './live.ts'
import { COLOURS, PLAIN } from './paint.ts'

interface Options {
  readonly every: number
  readonly count?: number
  readonly stop?: true
}

const CLEAR = '\u001b[H\u001b[2J'

export function watchCommand(): Command {
  return new Command('watch')
    .summary('a running guest of QEMU: its picture, redrawn with what changed')
    .description(
      "Reads a guest's tables again and again through QEMU's QMP socket. On a terminal the picture is redrawn when something changed, with what " +
        'changed below it; else the picture is printed once, and then each change.',
    )
    .argument('<socket>', 'the socket of -qmp unix:SOCKET,server=on,wait=off (or --qmp SOCKET)')
    .option('--every <seconds>', 'time between two looks', secondsArgument, 1)
    .option('--count <looks>', 'end after so many looks; else on Ctrl-C', countArgument)
    .option('--stop', 'the guest stands still while it is read')
    .addHelpText(
      'after',
      `
Examples:
  iomm watch --qmp /run/guest.qmp
  iomm watch --qmp /run/guest.qmp --every 0.2 --count 10 > changes.txt

Exit code: 0 ended by --count or Ctrl-C, 2 usage, 3 the guest went away, 4 not supported.`,
    )
    .action((socket: string, options: Options) => withInputErrors(() => watch(socket, options)))
}

function secondsArgument(text: string): number {
  const seconds = Number(text)
  if (!(seconds >= 0.05 && seconds <= 86_400)) throw new InvalidArgumentError('expected seconds, from 0.05 to 86400.')
  return seconds
}

function countArgument(text: string): number {
  const count = Number(text)
  if (!Number.isSafeInteger(count) || count < 1) throw new InvalidArgumentError('expected a whole number from 1 on.')
  return count
}

async function watch(socket: string, { every, count = Number.POSITIVE_INFINITY, stop }: Options): Promise<void> {
  if (socket === '-') throw new CliError(EXIT_USAGE, 'watch needs the socket of a running guest.')
  const live = await connectLive(socket, { stop: stop === true })
  const terminal = process.stdout.isTTY === true
  const paint = colourFor(process.stdout) ? COLOURS : PLAIN
  const ended = new AbortController()
  const end = () => ended.abort()
  process.once('SIGINT', end)
  try {
    note(`${live.guest.title}: memory from ${live.guest.memoryFrom}; every ${every} s`)
    let before = await live.read()
    const draw = () =>
      renderPicture(before, { colour: colourFor(process.stdout), ...(terminal ? { width: process.stdout.columns } : {}) })
    print(terminal ? CLEAR + draw() : draw())
    for (let look = 1; look < count; look++) {
      await sleep(every * 1000, undefined, { signal: ended.signal })
      const after = await live.read()
      const diff = diffMachines(before, after)
      before = after
      if (isEmptyDiff(diff)) continue
      const text = `${paint.bold(`look ${look + 1}`)}\n${diffText(diff, paint)}`
      print(terminal ? `${CLEAR}${draw()}\n${text}` : text)
    }
  } catch (error) {
    if (!ended.signal.aborted) throw error
  } finally {
    process.removeListener('SIGINT', end)
    live.guest.close()
  }
}
