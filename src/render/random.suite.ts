/** Random machines for the property tests of `render/`: any mix of devices, tables, spaces, stage 2 and names. */
import fc from 'fast-check'
import type { MachineGraph, PasidNode, SpaceNode } from '../inspect/graph.ts'
import { device, entry, machine, range, space, table } from './fixtures.suite.ts'

const nameOf = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('nic', '0000:00:06.0', 'gpu', 'accelerator-with-a-long-name', '網卡', 'a&b<c>') },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
)

const spaceSpec = fc.record({
  role: fc.constantFrom('io_pgtable' as const, 'io_mm' as const, 'private' as const, 'unknown' as const),
  label: nameOf,
  root: fc.option(fc.bigInt({ min: 0n, max: (1n << 52n) - 1n })),
  over: fc.option(fc.nat(30), { freq: 4 }),
  ranges: fc.nat(3),
  complete: fc.boolean(),
})

const entrySpec = fc.record({
  step: fc.constantFrom(1, 1, 1, 2, 3, 500),
  space: fc.option(fc.nat(30), { freq: 8 }),
  upper: fc.option(fc.nat(30), { freq: 1 }),
  state: fc.constantFrom('valid' as const, 'valid' as const, 'valid' as const, 'quiet' as const, 'bad' as const),
  note: fc.option(nameOf),
})

const tableSpec = fc.record({
  entries: fc.array(entrySpec, { maxLength: 24 }),
  label: fc.option(nameOf),
  without: fc.constantFrom('entry 0', 'bypass', 'abort'),
})

const deviceSpec = fc.record({
  step: fc.constantFrom(1, 1, 1, 8),
  name: nameOf,
  detail: fc.option(nameOf),
  domain: fc.option(nameOf),
  to: fc.constantFrom('table' as const, 'table' as const, 'space' as const, 'none' as const, 'bad' as const),
  index: fc.nat(30),
})

/** Up to 40 devices, 10 tables and 25 spaces. Some ids lead nowhere, as in graphs of broken machines. */
export const anyMachine: fc.Arbitrary<MachineGraph> = fc
  .record({
    spaces: fc.array(spaceSpec, { maxLength: 25 }),
    tables: fc.array(tableSpec, { maxLength: 10 }),
    devices: fc.array(deviceSpec, { maxLength: 40 }),
    title: nameOf,
  })
  .map(({ spaces, tables, devices, title }) => {
    const spaceNodes: SpaceNode[] = spaces.map((given, index) =>
      space(`s${index}`, {
        role: given.role,
        label: given.label,
        root: given.root,
        tags: [`ASID ${index}`],
        complete: given.complete,
        stage: given.over === null ? 2 : 1,
        over: given.over === null ? null : `s${given.over}`,
        ranges: Array.from({ length: given.ranges }, (_, at) => range(BigInt(at) << 30n, 0x3000n, 0x8000_0000n)),
      }),
    )
    const tableNodes = tables.map((given, index) => {
      let pasid = -1
      const entries = given.entries.map((each): PasidNode => {
        pasid += each.step
        const to = each.space === null ? null : `s${each.space % (spaces.length + 2)}`
        return {
          ...entry(pasid, null),
          space: to,
          state: each.state,
          note: each.note,
          ...(each.upper === null ? {} : { upper: `s${each.upper}` }),
        }
      })
      return table(`t${index}`, BigInt(index) << 16n, entries, { label: given.label, withoutPasid: given.without })
    })
    let id = -1
    const deviceNodes = devices.map((given) => {
      id += given.step
      const { name, detail, domain, index } = given
      if (given.to === 'table') return device(id, name, { detail, domain, pasidTable: `t${index % (tables.length + 1)}` })
      if (given.to === 'space') return device(id, name, { detail, domain, space: `s${index % (spaces.length + 1)}` })
      return device(id, name, { detail, domain, state: given.to === 'bad' ? 'bad' : 'none', note: name })
    })
    return machine(title, { devices: deviceNodes, pasidTables: tableNodes, spaces: spaceNodes })
  })
