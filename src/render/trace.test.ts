/** Follows the lines of the terminal picture with a finger, and asks whether they lead where the tables do. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { MachineGraph } from '../inspect/graph.ts'
import { device, entry, machine, nested, realMachine, space, stage2Only, table, tangled, twoDomains } from './fixtures.suite.ts'
import { renderPicture } from './picture.ts'

type Way = 'up' | 'down' | 'left' | 'right'
const STEP: Record<Way, [number, number]> = { up: [0, -1], down: [0, 1], left: [-1, 0], right: [1, 0] }
const BACK: Record<Way, Way> = { up: 'down', down: 'up', left: 'right', right: 'left' }
const ARMS: Record<string, Way[]> = {
  '─': ['left', 'right'],
  '╌': ['left', 'right'],
  '│': ['up', 'down'],
  '╎': ['up', 'down'],
  '╮': ['left', 'down'],
  '╯': ['left', 'up'],
  '╰': ['up', 'right'],
  '╭': ['down', 'right'],
  '┬': ['left', 'right', 'down'],
  '┴': ['left', 'right', 'up'],
  '┤': ['left', 'up', 'down'],
  '├': ['right', 'up', 'down'],
  '┼': ['left', 'right', 'up', 'down'],
}

class Grid {
  readonly rows: string[][]
  constructor(text: string) {
    this.rows = text.split('\n').map((line) => [...line])
  }
  at(x: number, y: number): string {
    return this.rows[y]?.[x] ?? ' '
  }
  /** All that a line touches from (x, y), going right, between two columns. */
  reach(x: number, y: number, low: number, high: number): Set<string> {
    const seen = new Set<string>()
    const ends = new Set<string>()
    const go = (fromX: number, fromY: number, way: Way): void => {
      let [cx, cy] = [fromX + STEP[way][0], fromY + STEP[way][1]]
      // Under a line that passes over: straight on.
      while (
        cx > low &&
        cx < high &&
        !(ARMS[this.at(cx, cy)] ?? []).includes(BACK[way]) &&
        '│─╎╌'.includes(this.at(cx, cy)) &&
        this.at(cx, cy) !== ' '
      ) {
        cx += STEP[way][0]
        cy += STEP[way][1]
      }
      if (cx <= low || cx >= high || this.at(cx, cy) === ' ' || this.at(cx, cy) === '▶') {
        ends.add(`${cx <= low ? 'left' : 'right'} ${cy}`)
        return
      }
      const arms = ARMS[this.at(cx, cy)]
      if (arms === undefined || !arms.includes(BACK[way])) {
        ends.add(`lost at ${cx},${cy}: ${this.at(cx, cy)}`)
        return
      }
      const key = `${cx},${cy}`
      if (seen.has(key)) return
      seen.add(key)
      for (const arm of arms) if (arm !== BACK[way]) go(cx, cy, arm)
    }
    go(x, y, 'right')
    return ends
  }
}

/** Checks a picture that shows all of a machine whose names are plain and unique. @returns how many lines were followed. */
function followed(graph: MachineGraph): number {
  const text = renderPicture(graph, { width: 400 })
  const grid = new Grid(text)
  const lineOf = (pattern: RegExp) => text.split('\n').findIndex((line) => pattern.test(line))
  const heads = text.split('\n')[2]!
  const tableX = heads.indexOf('PASID TABLES')
  const labelX = heads.indexOf('ADDRESS SPACES')
  let count = 0
  for (const device of graph.devices) {
    if (device.pasidTable === null) continue
    const y = lineOf(new RegExp(`│ ${device.name} `))
    const end = grid.rows[y]!.findIndex((char, x) => x > 8 && x < tableX && char === '├')
    const table = graph.pasidTables.find(({ id }) => id === device.pasidTable)!
    const port = lineOf(new RegExp(`▶┌─ ${table.label} `))
    expect(end, `device ${device.name} has a line`).toBeGreaterThan(0)
    expect([...grid.reach(end, y, end, tableX - 1)].filter((at) => at.startsWith('right'))).toEqual([`right ${port}`])
    count++
    const edge = grid.rows[port]!.indexOf('┐', tableX)
    const rowAt = (pasid: number) => {
      for (let row = port + 1; grid.at(tableX, row) !== '└'; row++)
        if (new RegExp(`^│ +${pasid}( |$)`).test(grid.rows[row]!.slice(tableX, edge).join(''))) return row
      return -1
    }
    for (const entry of table.entries) {
      const row = rowAt(entry.pasid)
      expect(grid.at(edge, row), `PASID ${entry.pasid} of ${table.label} has a line`).toBe('├')
      const space = graph.spaces.find(({ id }) => id === entry.space)!
      const label = lineOf(
        new RegExp(
          ` io_\\w+ (→ )?${space.role === 'private' ? 'private' : ''} *${space.label === 'private' ? '' : `${space.label} .*`}0x`,
        ),
      )
      const ends = [...grid.reach(edge, row, edge, labelX - 1)].filter((at) => at.startsWith('right'))
      const above = grid.rows[row]!.slice(labelX).join('')
      if (above.startsWith('↑')) expect(above).toContain(`${space.label} (as above)`)
      else expect(ends).toEqual([`right ${label}`])
      count++
    }
  }
  return count
}

/** Machines that the picture shows whole: up to 12 devices, 5 tables of up to 6 entries, 12 spaces. */
const dense: fc.Arbitrary<MachineGraph> = fc
  .record({
    devices: fc.array(fc.record({ step: fc.constantFrom(1, 1, 8), to: fc.nat(5) }), { minLength: 1, maxLength: 12, size: 'max' }),
    tables: fc.array(
      fc.array(fc.record({ step: fc.constantFrom(1, 1, 2, 5), to: fc.nat(11) }), { minLength: 1, maxLength: 6, size: 'max' }),
      { minLength: 1, maxLength: 5, size: 'max' },
    ),
  })
  .map(({ devices, tables }) => {
    const spaces = Array.from({ length: 12 }, (_, at) =>
      space(`s${at}`, { role: at % 2 === 0 ? 'io_mm' : 'io_pgtable', label: `label${at}`, root: BigInt(at + 1) << 12n }),
    )
    const pasidTables = tables.map((entries, at) => {
      let pasid = -1
      const nodes = entries.map(({ step, to }) => {
        pasid += step
        return entry(pasid, spaces[to]!)
      })
      return table(`t${at}`, BigInt(at) << 16n, nodes, { label: `table${at}` })
    })
    let id = -1
    const nodes = devices.map(({ step, to }, at) => {
      id += step
      return device(id, `device${at}`, { pasidTable: pasidTables[to]?.id ?? null })
    })
    // A table that no device leads to is not drawn.
    const reached = pasidTables.filter((each) => nodes.some(({ pasidTable }) => pasidTable === each.id))
    return machine('machine', { devices: nodes, pasidTables: reached, spaces })
  })

describe('lines of the terminal picture', () => {
  it('lead from devices to tables and from entries to spaces, in known machines', () => {
    const named = (graph: MachineGraph) => ({
      ...graph,
      devices: graph.devices.map((device) => ({ ...device, name: device.name.length < 3 ? `dev${device.name}` : device.name })),
    })
    expect(followed(named(twoDomains()))).toBe(4 + 3 + 3 * 3)
    expect(followed(named(tangled()))).toBe(8 + 8 * 6)
    expect(followed(named(tangled(9)))).toBe(8 + 8 * 10)
    const real = realMachine()
    const labelled = {
      ...real,
      pasidTables: real.pasidTables.map((table, at) => ({ ...table, label: `table${at}` })),
      spaces: real.spaces.map((space, at) => ({ ...space, label: `label${at}` })),
    }
    expect(followed(labelled)).toBe(11 + 35)
    for (const graph of [stage2Only(), nested()]) expect(renderPicture(graph)).not.toContain('undefined')
  })

  it('lead where the tables do, whatever the machine', () => {
    let lines = 0
    fc.assert(
      fc.property(dense, (graph) => {
        lines += followed(graph)
      }),
      { numRuns: 100 },
    )
    expect(lines).toBeGreaterThan(1000)
  })
})
