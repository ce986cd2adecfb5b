/** `iomm explain`: a kernel log in, in words what the IOMMU reported. */
import { readFile } from 'node:fs/promises'
import { Command } from 'commander'
import type { Outcome, Transaction } from '../base/types.ts'
import {
  type Explanation,
  explainFindings,
  type Finding,
  type KnownRange,
  type ParsedLog,
  type PciNames,
  readPciIds,
} from '../explain/index.ts'
import { systemReason } from '../node/index.ts'
import { CliError, colourFor, EXIT_FINDINGS, EXIT_INPUT, EXIT_OK, note, print, toJson } from './common.ts'
import { groupsOf, groupText } from './explain-text.ts'
import { type OpenedMachine, openInput, parseDevice, withInputErrors } from './input.ts'
import { readLog } from './log-input.ts'
import { COLOURS, type Painter, PLAIN, wrapped } from './paint.ts'
import { explainedText } from './walk-text.ts'

interface Options {
  readonly json?: true
  readonly pciIds?: string
  readonly machine?: string
}

/** Where distributions keep the list of PCI names. */
const PCI_IDS = ['/usr/share/misc/pci.ids', '/usr/share/hwdata/pci.ids', '/usr/share/pci.ids']
/** So many different walks are shown. */
const MOST_WALKS = 16

export function explainCommand(): Command {
  return new Command('explain')
    .summary('a kernel log in words: who did what, why it was refused, what to look at')
    .description(
      'Finds what IOMMUs report in a kernel log (VT-d, AMD-Vi, SMMUv3, SMMUv2, RISC-V; Linux, Xen, QEMU), and explains each report: who, ' +
        'with which PASID, which address and what kind of address, what was tried, what the code means, the likely causes in order, and ' +
        'what to look at next. Prefixes of dmesg, journald, syslog and consoles, and quoted and wrapped mails are understood. What is not ' +
        'known is said to be unknown.',
    )
    .argument('[file]', 'a log, packed with gzip or zstd or not; - is standard input', '-')
    .option('--json', 'reports and explanations as JSON')
    .option('--pci-ids <file>', `names of PCI devices (default: ${PCI_IDS[0]} if it is there)`)
    .option('--machine <input>', 'a capture or scenario beside the log: faulting addresses are walked in its tables')
    .addHelpText(
      'after',
      `
Examples:
  dmesg | iomm explain
  journalctl -k -b -1 | iomm explain - --json | jq '.reports[].report'
  echo 'DMAR: [DMA Read NO_PASID] Request device [00:16.7] fault addr 0xdceff000 [fault reason 0x06] PTE Read access is not set' | iomm explain
  iomm explain mail.txt --machine test/fixtures/arm64-smmuv3-s1

Exit code: 0 nothing is reported, 1 something is, 2 usage, 3 unreadable input, 4 not supported.`,
    )
    .action(async (file: string, options: Options) => {
      process.exitCode = await explain(file, options)
    })
}

async function explain(file: string, options: Options): Promise<number> {
  const names = await pciNames(options.pciIds)
  const machine = options.machine === undefined ? null : await openInput(options.machine)
  const log = await withInputErrors(() => readLog(file))
  const explanations = explainFindings(log, { names, ranges: machine === null ? [] : rangesOf(machine) })
  if (options.json) printJson(log, explanations, machine)
  else printText(log, explanations, machine, colourFor(process.stdout) ? COLOURS : PLAIN)
  return log.findings.length > 0 ? EXIT_FINDINGS : EXIT_OK
}

async function pciNames(asked: string | undefined): Promise<PciNames | null> {
  for (const path of asked === undefined ? PCI_IDS : [asked]) {
    try {
      return readPciIds(await readFile(path, 'utf8'))
    } catch (error) {
      if (asked !== undefined) throw new CliError(EXIT_INPUT, `${path}: ${systemReason(error)}`)
    }
  }
  return null
}

/** What the machine tells of memory: system memory only, as its other regions say nothing of who owns them. */
function rangesOf({ names }: OpenedMachine): KnownRange[] {
  return (names.memory ?? [])
    .filter(({ name }) => /system ram/i.test(name))
    .map(({ start, end, name }) => ({ first: BigInt(start), last: BigInt(end) - 1n, name, ram: true }))
}

function printText(log: ParsedLog, explanations: readonly Explanation[], machine: OpenedMachine | null, paint: Painter): void {
  const { findings } = log
  for (const text of log.notes) note(text)
  if (findings.length === 0) {
    print(`Nothing in ${log.lines} ${log.lines === 1 ? 'line' : 'lines'} is a report of an IOMMU that is known here.`)
    return
  }
  const groups = groupsOf(findings, explanations)
  let walks = 0
  for (const group of groups) {
    const finding = findings[group.first]!
    const walked = machine === null || walks >= MOST_WALKS ? null : walkOf(finding, machine)
    if (walked !== null) walks++
    const walk = walked === null ? [] : walkLines(walked, finding, machine!, paint)
    print(`${groupText(group, findings, explanations, paint, walk)}\n\n`)
  }
  const alike = groups.length < findings.length ? ` of ${groups.length} ${groups.length === 1 ? 'kind' : 'kinds'}` : ''
  const more = log.dropped === 0 ? '' : ` ${log.dropped} more are not shown.`
  print(`${findings.length} ${findings.length === 1 ? 'report' : 'reports'}${alike}.${more}`)
}

interface Walk {
  readonly transaction: Transaction
  readonly deviceName: string
  readonly outcome: Outcome
  readonly steps: ReturnType<OpenedMachine['model']['explain']>['steps']
  /** Whether the tables say what the log says; null where that cannot be compared. */
  readonly agrees: boolean | null
}

/** The transaction of a report, walked through the machine's tables; null when the report is of none. */
function walkOf({ report }: Finding, machine: OpenedMachine): Walk | null {
  const { kind, device, address, pasid, access, code } = report
  if (device === null || address === null || (kind !== 'dma-fault' && kind !== 'interrupt-fault')) return null
  const { id, name } = parseDevice(device.replace(/^sid:/, ''), machine.devices)
  const transaction: Transaction = {
    device: id,
    ...(pasid === null ? {} : { pasid }),
    iova: BigInt(address),
    access: access ?? 'read',
    privileged: report.fields.privileged === true,
  }
  const { outcome, steps } = machine.model.explain(transaction)
  const agrees = outcome.ok ? false : code === null ? null : outcome.code === code
  return { transaction, deviceName: name, outcome, steps, agrees }
}

function walkLines(walk: Walk, { report }: Finding, machine: OpenedMachine, paint: Painter): string[] {
  const said = walk.outcome.ok
    ? 'These tables translate it: they were changed since, or the hardware used a stale cached entry, or the log is of another machine.'
    : walk.agrees === false
      ? `These tables refuse it too, with another code (${walk.outcome.name}): they were changed since, or the log is of another machine.`
      : 'These tables refuse it too. What decided is the last entry below.'
  const tried = report.access === null ? ' The log does not tell what was tried: walked as a read.' : ''
  return [
    `  ${paint.result(`In ${machine.title}:`)}`,
    ...wrapped(`${said}${tried}`, 4),
    ...explainedText(walk, machine.architecture, paint)
      .trimEnd()
      .split('\n')
      .map((line) => (line === '' ? '' : `    ${line}`)),
  ]
}

function printJson(log: ParsedLog, explanations: readonly Explanation[], machine: OpenedMachine | null): void {
  const walked = (finding: Finding) => {
    const walk = machine === null ? null : walkOf(finding, machine)
    return walk === null ? {} : { walk }
  }
  print(
    toJson({
      reports: log.findings.map((finding, index) => ({
        ...finding,
        explanation: explanations[index],
        ...(index < MOST_WALKS ? walked(finding) : {}),
      })),
      dropped: log.dropped,
      lines: log.lines,
      notes: log.notes,
    }),
  )
}
