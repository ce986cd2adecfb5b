import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import type { MachineGraph } from '../inspect/graph.ts'
import { PhysicalMemory } from '../memory/physical.ts'
import { type FolderCapture, openCapture } from '../node/index.ts'
import { runCommand } from './commands.suite.ts'
import { openInput } from './input.ts'
import { showCommand } from './show.ts'
import { walkCommand } from './walk.ts'

const fixtures = join(import.meta.dirname, '../../test/fixtures')
const captures = join(import.meta.dirname, '../../../shared/captures')
const folder = mkdtempSync(join(tmpdir(), 'iomm-text-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, text: string | Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const h = (value: bigint, digits = 16) => value.toString(16).padStart(digits, '0')
const ADDRESS = 0xfffff_ffff_f000n

/** A line of dmar_translation_struct. */
interface Line {
  readonly source: number
  readonly root: readonly [bigint, bigint]
  readonly context: readonly [bigint, bigint]
  /** -1 in legacy mode. */
  readonly pasid: number
  readonly words: readonly bigint[]
}

/** What the kernel would walk, in its order. */
class Walked {
  readonly memory: PhysicalMemory
  readonly root: bigint
  readonly scalable: boolean
  constructor({ core, register }: FolderCapture) {
    this.memory = new PhysicalMemory([], core)
    const rtaddr = register(0x20, 8)!
    this.root = rtaddr & ADDRESS
    this.scalable = ((rtaddr >> 10n) & 3n) === 1n
  }

  word(pa: bigint): bigint {
    return this.memory.answers(Number(pa)) ? this.memory.read64(Number(pa)) : 0n
  }

  *lines(): Iterable<Line> {
    for (let bus = 0n; bus < 256n; bus++) {
      const root = [this.word(this.root + bus * 16n + 8n), this.word(this.root + bus * 16n)] as const
      for (let devfn = 0n; devfn < 256n; devfn++) {
        const half = this.scalable && devfn > 127n ? root[0] : root[1]
        if ((half & 1n) === 0n) continue
        const at = (half & ADDRESS) + (this.scalable ? (devfn & 127n) * 32n : devfn * 16n)
        const context = [this.word(at + 8n), this.word(at)] as const
        if ((context[1] & 1n) === 0n) continue
        const line = { source: Number(bus * 256n + devfn), root, context }
        if (this.scalable) yield* this.pasids(line)
        else yield { ...line, pasid: -1, words: [0n, 0n, 0n] }
      }
    }
  }

  *pasids(line: Omit<Line, 'pasid' | 'words'>): Iterable<Line> {
    const entries = 1n << (((line.context[1] >> 9n) & 7n) + 7n)
    for (let index = 0n; index < entries; index++) {
      const directory = this.word((line.context[1] & ADDRESS) + index * 8n)
      for (let at = 0n; (directory & 1n) === 1n && at < 64n; at++) {
        const words = [16n, 8n, 0n].map((word) => this.word((directory & ADDRESS) + at * 64n + word))
        if ((words[2]! & 1n) === 1n) yield { ...line, pasid: Number(index * 64n + at), words }
      }
    }
  }

  /** Lines of domain_translation_struct for one table. @param present bits of which one is set in a present entry. */
  *pages(table: bigint, level: number, present: bigint, pfn = 0n, path: bigint[] = [0n, 0n, 0n, 0n, 0n, 0n]): Iterable<string> {
    for (let index = 0n; index < 512n; index++) {
      const entry = this.word(table + index * 8n)
      if ((entry & present) === 0n) continue
      path[level] = entry
      const at = pfn + (index << BigInt(9 * (level - 1)))
      if (level === 1 || (entry & 0x80n) !== 0n)
        yield `0x${h(at, 13)} |\t${[5, 4, 3, 2, 1].map((one) => `0x${h(path[one]!)}`).join('\t')}`
      else yield* this.pages(entry & ADDRESS, level - 1, present, at, path)
      path[level] = 0n
    }
  }
}

const bdf = (source: number) => `${h(BigInt(source >> 8), 2)}:${h(BigInt((source >> 3) & 31), 2)}.${source & 7}`

/** As Linux prints it since 5.2. */
function newText(walked: Walked, unit: string): string {
  const lines = [...walked.lines()].map(({ source, root, context, pasid, words }) => {
    const columns = [root, context].map((pair) => pair.map((one) => `0x${h(one)}`).join(':'))
    return `${bdf(source)}\t${columns.join('\t')}\t${String(pasid).padEnd(6)}\t${words.map((one) => `0x${h(one)}`).join(':')}`
  })
  const head = `IOMMU ${unit}: Root Table Address: 0x${walked.root.toString(16)}\nB.D.F\tRoot_entry\t\t\t\tContext_entry\t\t\t\tPASID\tPASID_table_entry\n`
  return `${head}${lines.join('\n')}\n\n`
}

/** As Linux printed it before. */
function oldText(walked: Walked): string {
  const lines = [`IOMMU dmar0: Root Table Address:${walked.root.toString(16)}`, 'Root Table Entries:']
  let bus = -1
  for (const { source, root, context } of walked.lines()) {
    if (source >> 8 !== bus) {
      bus = source >> 8
      lines.push('', ` Bus: ${bus} H: ${root[0].toString(16)} L: ${root[1].toString(16)}`)
      lines.push(` Context Table Entries for Bus: ${bus}`, '  Entry\tB:D.F\tHigh\tLow')
    }
    const [high, low] = context.map((one) => one.toString(16))
    lines.push(`  ${String(source & 255).padEnd(5)}\t${bdf(source)}\t${high!.padEnd(6)}\t${low}`)
  }
  return `${lines.join('\n')}\n`
}

function domainText(walked: Walked): string {
  const parts: string[] = []
  for (const { source, context, pasid, words } of walked.lines()) {
    const first = walked.scalable && ((words[2]! >> 6n) & 7n) === 1n
    const pgd = (walked.scalable ? (first ? words[0]! : words[2]!) : context[1]) & ADDRESS
    const agaw = Number(walked.scalable ? (first ? 2n : (words[2]! >> 2n) & 7n) : context[0] & 7n)
    const who = `Device 0000:${bdf(source)} ${pasid < 0 ? '' : `with pasid ${pasid.toString(16)} `}@0x${pgd.toString(16)}`
    parts.push(
      who,
      'IOVA_PFN\t\tPML5E\t\t\tPML4E\t\t\tPDPE\t\t\tPDE\t\t\tPTE',
      ...walked.pages(pgd, agaw + 2, first ? 1n : 3n),
      '',
    )
  }
  return parts.join('\n')
}

const where = (name: string) => [fixtures, captures].map((place) => join(place, name)).find((path) => existsSync(path))
const modes = [
  'amd64-vtd-legacy',
  'amd64-vtd-pasid-sva',
  'amd64-vtd-pasid-fs',
  'amd64-vtd-scalable-ss',
  'amd64-vtd-scalable-fs',
].flatMap((name) => {
  const path = where(name)
  return path === undefined ? [] : [{ name, path }]
})

const devices = (graph: MachineGraph) =>
  graph.devices.filter(({ state }) => state === 'tables').map(({ id, entry }) => [id, entry?.words.slice(0, 2)])
const pasids = (graph: MachineGraph) =>
  graph.pasidTables.map(({ address, entries }) => [address, entries.map(({ pasid, entry }) => [pasid, entry.words.slice(0, 3)])])
const maps = (graph: MachineGraph) => graph.spaces.map(({ root, mappedBytes, leafCount }) => [root, mappedBytes, leafCount])

describe('the text of dmar_translation_struct is INPUT', () => {
  it.each(modes)('with the devices and PASIDs of $name', async ({ name, path }) => {
    const text = newText(new Walked(await openCapture(path)), 'dmar0')
    const graph = (await openInput(file(`${name}.txt`, text))).graph()
    const real = (await openInput(path)).graph()
    expect(devices(graph)).toEqual(devices(real))
    expect(pasids(graph)).toEqual(pasids(real))
    expect(graph.deviceTable).toEqual(real.deviceTable)
    expect(graph.devices.find(({ state }) => state === 'tables')!.name).toMatch(/^[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/)
    expect(graph.findings.filter(({ severity }) => severity === 'error')).toEqual([])
    expect(graph.findings.at(-1)!.text).toMatch(/page tables are not listed in it/)
  })

  it.each(modes)('with what devices reach, when domain_translation_struct of $name follows', async ({ name, path }) => {
    const walked = new Walked(await openCapture(path))
    const graph = (
      await openInput(file(`${name}-all.txt.gz`, gzipSync(`${newText(walked, 'dmar0')}${domainText(walked)}`)))
    ).graph()
    // Tables without a page are not listed: their spaces are empty here, and there.
    expect(maps(graph)).toEqual(maps((await openInput(path)).graph()))
  })

  const legacy = where('amd64-vtd-legacy')!

  it('as kernels before 5.2 print it', async () => {
    const graph = (await openInput(file('old.txt', oldText(new Walked(await openCapture(legacy)))))).graph()
    expect(devices(graph)).toEqual(devices((await openInput(legacy)).graph()))
  })

  it('of several IOMMUs: one is chosen by name', async () => {
    const walked = new Walked(await openCapture(legacy))
    const other = 'IOMMU dmar1: Root Table Address: 0x5000\nB.D.F\tRoot_entry\n'
    const path = file('two.txt', `${newText(walked, 'dmar0')}${other}`)
    await expect(openInput(path)).rejects.toThrow(/two\.txt: is of 2 IOMMUs, dmar0, dmar1: choose one with --unit dmar0/)
    await expect(openInput(path, { unit: 'dmar7' })).rejects.toThrow(/has no IOMMU 'dmar7': it has dmar0, dmar1/)
    expect((await openInput(path, { unit: 'dmar1' })).graph().deviceTable!.address).toBe(0x5000n)
    const shown = await runCommand(showCommand(), [path, '--unit', 'dmar0'])
    expect(shown).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('0x101547000') })
  })

  it('and walks go as far as it tells', async () => {
    const walked = new Walked(await openCapture(legacy))
    const path = file('walk.txt', newText(walked, 'dmar0'))
    const [first] = [...walked.lines()]
    const result = await runCommand(walkCommand(), [path, bdf(first!.source), '0xfffff000'])
    expect(result.stdout).toContain(`0x${(first!.context[1] & ADDRESS).toString(16)}`)
  })

  it('and not page tables alone', async () => {
    const path = file('domain.txt', 'Device 0000:00:02.0 @0x1000\nIOVA_PFN\tPML5E\n')
    await expect(openInput(path)).rejects.toThrow(/give the text of dmar_translation_struct before it/)
  })
})

describe("AMD's devtbl, collected, is INPUT", () => {
  const amd = where('amd64-amdvi-v1')!
  const row = (id: number, words: readonly bigint[], unit: string) =>
    `DeviceId             QWORD[3]         QWORD[2]         QWORD[1]         QWORD[0] iommu\n0000:${bdf(id)} ${[...words]
      .reverse()
      .map((one) => h(one))
      .join(' ')} ${unit}\n`

  it('with the entries of its devices', async () => {
    const real = (await openInput(amd)).graph()
    const listed = real.devices.filter(({ state }) => state === 'tables')
    expect(listed.length).toBeGreaterThan(3)
    const text = listed.map(({ id, entry }) => row(id, entry!.words, 'iommu0')).join('')
    const graph = (await openInput(file('devtbl', text))).graph()
    const seen = (one: MachineGraph) =>
      one.devices.filter(({ state }) => state === 'tables').map(({ id, entry }) => [id, entry?.words])
    expect(graph.iommu).toBe('AMD-Vi')
    expect(seen(graph)).toEqual(seen(real))
    expect(graph.devices[0]!.name).toMatch(/^[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/)
    expect(graph.findings.map(({ text: said }) => said).join('\n')).toMatch(/does not say where the device table lies/)
  })

  it('of several IOMMUs asks which', async () => {
    const path = file('devtbls', `${row(8, [3n, 0n, 1n, 0n], 'iommu0')}${row(16, [3n, 0n, 1n, 0n], 'iommu1')}`)
    await expect(openInput(path)).rejects.toThrow(/is of 2 IOMMUs, iommu0, iommu1: choose one with --unit iommu0/)
    expect((await openInput(path, { unit: 'iommu1' })).devices.get(16)).toEqual({ name: '00:02.0' })
  })
})

describe('the text of iommu_regset', () => {
  /** As Linux prints it: 32-bit registers first, all with 16 digits. */
  async function regset(path: string, unit: string): Promise<string> {
    const { side } = await openCapture(path)
    const rows = side.registers
      .filter(({ name }) => !/^(FRCD|IVA|IOTLB)/.test(name))
      .sort((a, b) => a.size - b.size)
      .map(({ name, offset, value }) => `${name.padEnd(16)}\t0x${h(BigInt(offset), 2)}\t\t0x${h(value)}`)
    return `IOMMU: ${unit} Register Base Address: fed90000\nName\t\t\tOffset\t\tContents\n${rows.join('\n')}\n\n`
  }
  const path = where('amd64-vtd-pasid-sva')!
  const dump = join(path, 'tables.elf.gz')

  it('has the registers of a dump', async () => {
    const real = (await openInput(path)).graph()
    const graph = (await openInput(dump, { registers: file('regset', await regset(path, 'dmar0')) })).graph()
    expect(maps(graph)).toEqual(maps(real))
    const values = (one: MachineGraph) =>
      one.registers.filter(({ name }) => !/^(FRCD|IVA|IOTLB)/.test(name)).map(({ name, value }) => [name, value])
    expect(values(graph)).toEqual(values(real))
  })

  it('of several IOMMUs asks which, and --unit tells', async () => {
    const text = `${await regset(path, 'dmar0')}${await regset(where('amd64-vtd-legacy')!, 'dmar1')}`
    const registers = file('regsets', text)
    await expect(openInput(dump, { registers })).rejects.toThrow(/is of 2 IOMMUs, dmar0, dmar1: choose one with --unit/)
    const root = async (unit: string) => (await openInput(dump, { registers, unit })).graph().deviceTable!.address
    expect(await root('dmar0')).toBe(0x101589000n)
    expect(await root('dmar1')).toBe(0x101547000n)
  })

  it("is read with lines of AMD's too, without the capability's", async () => {
    const amd = where('amd64-amdvi-v1')!
    const { side } = await openCapture(amd)
    const lines = side.registers.map(({ offset, value }) => `Offset:0x${offset.toString(16)} Value:0x${h(value)}`)
    const registers = file('mmio', `Offset:0x0 Value:0x190b640f\n${lines.join('\n')}\n`)
    const graph = (await openInput(join(amd, 'tables.elf.gz'), { registers })).graph()
    expect(maps(graph)).toEqual(maps((await openInput(amd)).graph()))
  })

  it('with nothing in it is an error', async () => {
    const registers = file('empty', 'IOMMU: dmar0 Register Base Address: fed90000\nName Offset Contents\n')
    await expect(openInput(dump, { registers })).rejects.toThrow(/names an IOMMU, and none of its registers/)
  })
})
