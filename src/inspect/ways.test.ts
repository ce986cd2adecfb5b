import { describe, expect, it } from 'vitest'
import type { MachineGraph } from './graph.ts'
import { PLAIN_CD, TestMachine } from './smmuv3.suite.ts'
import { inspectSmmuV3 } from './smmuv3.ts'
import { waysOf } from './ways.ts'

function machine() {
  const made = new TestMachine()
  made.streamTable(4)
  const cds = made.cdTable(4)
  cds.cd(0, made.stage1().values)
  cds.cd(3, made.stage1({ ...PLAIN_CD, ASID: 3 }).values)
  cds.cd(4, { ...made.stage1({ ...PLAIN_CD, ASID: 4 }).values, EPD0: 1 })
  return { made, cds }
}

const ways = (graph: MachineGraph) => [...waysOf(graph)].map(({ device, pasid, space }) => [device.id, pasid, space !== null])

describe('ways into address spaces', () => {
  it('are those of valid entries; the one for requests without PASID has none, whichever entry that is', () => {
    const { made, cds } = machine()
    made.ste(1, cds.ste)
    const graph = inspectSmmuV3(made.source())
    // Entry 4 is quiet.
    expect(ways(graph)).toEqual([
      [1, null, true],
      [1, 3, true],
    ])
    const [table] = graph.pasidTables
    expect(ways({ ...graph, pasidTables: [{ ...table!, withoutPasid: 'entry 3' }] })).toEqual([
      [1, 0, true],
      [1, null, true],
    ])
  })

  it('lead past all tables, or to stage 2 where there is one', () => {
    const { made, cds } = machine()
    const stage2 = made.stage2()
    made.ste(1, { V: 1, Config: 0b100 })
    made.ste(2, { ...cds.ste, S1DSS: 1 })
    made.ste(3, { ...stage2.ste, V: 1, Config: 0b110 })
    made.ste(4, { V: 1, Config: 0 })
    expect(ways(inspectSmmuV3(made.source())).filter(([, pasid]) => pasid === null)).toEqual([
      [1, null, false],
      [2, null, false],
      [3, null, true],
    ])
  })
})
