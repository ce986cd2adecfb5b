/** Everything that a capture tells, as lists to check: translations, mappings, faults, and the tables themselves. */
import { stat } from 'node:fs/promises'
import type { Outcome, Transaction } from '../../base/types.ts'
import type { Capture } from '../../node/index.ts'
import {
  captureOf,
  InputError,
  isCapture,
  kindOfDump,
  lookForDump,
  openBytes,
  openCapture,
  openDump,
  readRegisterFile,
} from '../../node/index.ts'
import { CliError, EXIT_INPUT } from '../common.ts'
import { explainedBy, openedCapture } from '../input.ts'
import { PLAIN } from '../paint.ts'
import { explainedText } from '../walk-text.ts'
import type { CheckList, Verification } from './contract.ts'
import { setAside } from './set-aside.ts'
import { tableList } from './tables.ts'
import { faultList, mappingList, type Translating, translationList } from './translations.ts'
import type { Verifier } from './verifier.ts'

export const CAPTURES: Verifier = {
  what: 'a capture (a folder with side.json.gz and tables.elf.gz)',
  accepts: isCapture,
  open: async (path) => captureLists(await openCapture(path)),
}

export const DUMPS: Verifier = {
  what: "a dump of memory with --registers FILE (a capture's side.json)",
  accepts: async (path, { registers, base }) => registers !== undefined && (base !== undefined || (await isDump(path))),
  async open(path, { registers, base }) {
    const { side } = await readRegisterFile(registers!)
    if (side === null)
      throw new CliError(EXIT_INPUT, `${registers}: a list of registers expects nothing; a capture's side.json is needed here.`)
    const dump = await openDump(path, base === undefined ? {} : { base: Number(base) })
    return captureLists(captureOf(dump, side, registers!))
  },
}

async function isDump(path: string): Promise<boolean> {
  if ((await stat(path)).isDirectory()) return false
  const source = await openBytes(path, { look: lookForDump })
  try {
    kindOfDump(source)
    return true
  } catch (error) {
    if (error instanceof InputError) return false
    throw error
  } finally {
    source.close()
  }
}

function captureLists(capture: Capture): Verification {
  const { side } = capture
  const machine = openedCapture(capture)
  const explained = (transaction: Transaction) => {
    const { outcome, steps } = explainedBy(machine.model, transaction, EXIT_INPUT)
    const deviceName = machine.devices.get(transaction.device)?.name ?? `0x${transaction.device.toString(16)}`
    return { transaction, deviceName, outcome, steps }
  }
  const translating: Translating = {
    letters: machine.architecture.letters,
    deviceOf({ device, devid }) {
      const id = devid ?? (device === undefined ? null : capture.deviceId(device))
      if (id === null)
        throw new CliError(
          EXIT_INPUT,
          `${capture.sideFile}: an item names no device: ${device ?? 'neither devid nor device is there'}`,
        )
      return id
    },
    ask: (transaction): Outcome => explainedBy(machine.model, transaction, EXIT_INPUT).outcome,
    explain: (transaction) => explainedText(explained(transaction), machine.architecture, PLAIN),
  }
  const faults = faultList(translating, 'faults_provoked', side.faults_provoked)
  const { facts } = machine.architecture
  // Devices that the facts name are listed in the graph whatever their entry says.
  const devices = new Map(machine.devices)
  for (const name of Object.keys(side.tables)) {
    const id = capture.deviceId(name)
    if (id !== null && !devices.has(id)) devices.set(id, { name })
  }
  const { title, register } = capture
  const { memory } = machine
  const graph = machine.architecture.inspect({ title, memory, register, names: { devices } })
  const tables = tableList(graph, side.tables, capture.deviceId, facts.names)
  const distrust = facts.distrust?.(capture) ?? (() => null)
  const believed = (name: string, items: typeof side.expected) =>
    setAside(translationList(translating, name, items), (index) => distrust(translating.deviceOf(items[index]!)))
  const lists: CheckList[] = [
    believed('expected', side.expected),
    believed('guest_dma', side.guest_dma),
    mappingList(translating, 'kernel_mappings', side.kernel_mappings, side.guest_dma),
    translationList(translating, 'sva_pages', side.sva_pages),
    translationList(translating, 'ats_translations', side.ats_translations),
    faults,
    tables,
    ...facts.more(capture, (transaction) => explainedText(explained(transaction), machine.architecture, PLAIN)),
  ]
  return {
    title,
    lists: lists.filter(({ count }) => count > 0),
    remarks() {
      const remarks = faults.permitted.map(
        (item) =>
          `${item}: the tables permit this access (an independent walk says so too): checked that it goes to that address`,
      )
      for (const [key, count] of tables.ignored) remarks.push(`tables: '${key}' is not compared (${count} times)`)
      for (const list of lists) remarks.push(...(list.remarks?.() ?? []))
      if (side.debug_translations.length > 0 && !lists.some(({ name }) => name === 'debug_translations'))
        remarks.push(`debug_translations: ${side.debug_translations.length} items are not checked for this IOMMU`)
      return remarks
    },
  }
}
