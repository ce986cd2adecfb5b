import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { TestAmd } from '../../inspect/amdvi.suite.ts'
import { openCapture } from '../../node/index.ts'
import { AMDVI } from '../architectures/amdvi.ts'
import { memoryOf } from '../architectures/contract.ts'
import { runCommand } from '../commands.suite.ts'
import { EXIT_FINDINGS, EXIT_OK, EXIT_USAGE } from '../common.ts'
import { showCommand } from '../show.ts'
import { verifyCommand } from '../verify.ts'
import { walkCommand } from '../walk.ts'
import { distrustQemu, passThroughList } from './amdvi.ts'

const root = join(import.meta.dirname, '../../..')
const V1 = join(root, 'test/fixtures/amd64-amdvi-v1')
const PASID = join(root, 'test/fixtures/amd64-amdvi-pasid')

describe('captures of AMD machines', () => {
  it('verify holds for every item', async () => {
    const { stdout, exitCode } = await runCommand(verifyCommand(), [V1, PASID, '--json'])
    expect(exitCode).toBe(EXIT_OK)
    const { passed, failed, files } = JSON.parse(stdout)
    expect([passed, failed]).toEqual([3552, 0])
    const counts = files.map(({ lists }: { lists: { name: string; passed: number }[] }) =>
      Object.fromEntries(lists.map(({ name, passed }) => [name, passed])),
    )
    expect(counts[0]).toMatchObject({ kernel_mappings: 556, faults_provoked: 20, ste_without_tables: 1 })
    expect(counts[1]).toMatchObject({ kernel_mappings: 269, sva_pages: 900 })
  })

  it('show names devices, kinds of domains and PASIDs, and the recorded faults with what they lack', async () => {
    const pasid = (await runCommand(showCommand(), [PASID])).stdout
    expect(pasid).toContain('0x200  0000:02:00.0  iommulab, 1234:da5d, group 11   → GCR3 table at 0x1013c9000')
    expect(pasid).toMatch(/1 {2}→ io_mm → PASID 1 of 0000:00:06\.0 and 2 more, root 0x101c2e000/)
    expect(pasid).toContain('0000:00:01.0  1022:1419                       abort: all DMA is refused: Mode is 0, IR and IW are 0')
    const v1 = (await runCommand(showCommand(), [V1])).stdout
    expect(v1).toContain('0000:00:07.0 read, the address is not recorded')
    expect(v1).toContain("page faults with I = 1, and without address and DomainID, are QEMU's")
  })

  it('walk reads entries that a dump leaves out as zeros', async () => {
    // DeviceID 0x3ff is in the last page of the device table, which is not in the dump.
    const { stdout, exitCode } = await runCommand(walkCommand(), [PASID, '0x3ff', '0x1000'])
    expect(exitCode).toBe(EXIT_OK)
    expect(stdout).toContain('DTE at 0x1007fe0')
    expect(stdout).toContain('goes to 0x1000')
  })

  it('walk tells the record as hardware writes it', async () => {
    const { stdout, exitCode } = await runCommand(walkCommand(), [V1, '00:06.0', '0x7700000000', '--write'])
    expect(exitCode).toBe(EXIT_FINDINGS)
    expect(stdout).toContain('faults: IO_PAGE_FAULT (0x2), stage 2, level 3')
    expect(stdout).toContain('0x0000007700000000')
  })

  it('walk refuses a DeviceID that cannot be', async () => {
    expect(await runCommand(walkCommand(), [V1, '0x12345', '0x1000'])).toMatchObject({
      exitCode: EXIT_USAGE,
      stderr: expect.stringContaining('0xffff'),
    })
  })

  it('a wrong count of entries without tables fails', async () => {
    const capture = await openCapture(V1)
    const { title, register, side } = capture
    const source = { title, register, memory: memoryOf(capture, AMDVI) }
    const list = (count: number) => passThroughList({ ...side, ste_without_tables: { 'passthrough-dte': count } }, source)
    expect(list(500).check(0)).toBeNull()
    expect(list(499).check(0)).toMatchObject({ expected: '499 DTEs', actual: '500' })
  })
})

describe('what QEMU did is not believed', () => {
  it('where Mode is 0 and guest tables translate, and only there', () => {
    const machine = new TestAmd()
    const { dte, address } = machine.gcr3(0)
    machine.dte(1, dte, address)
    machine.dte(2, { ...dte, ...machine.host().dte }, address)
    machine.dte(3, machine.host().dte)
    machine.dte(4, {})
    machine.dte(5, { Mode: 7 })
    const reasons = (source: ReturnType<TestAmd['source']>) =>
      [1, 2, 3, 4, 5, 6, 500].map((device) => distrustQemu(source)(device) !== null)
    expect(reasons(machine.source())).toEqual([true, false, false, false, false, false, false])
    machine.control({ GTEn: 0 })
    expect(reasons(machine.source()).includes(true)).toBe(false)
  })
})
