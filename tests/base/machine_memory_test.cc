#include "server/base/machine_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <string>

#include "tests/base/temp_folder.h"

namespace densityd {
namespace {

constexpr uint64_t kNone = std::numeric_limits<uint64_t>::max();

class MachineMemoryTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_.Path(path);
    std::filesystem::create_directories(file.parent_path());
    testing::WriteFile(file, text);
  }
  uint64_t Limit() const { return ControlGroupMemory(root_.path()); }

  const testing::TempFolder root_;
};

TEST_F(MachineMemoryTest, WithoutControlGroupsItIsTheMachines) {
  EXPECT_EQ(Limit(), kNone);
  EXPECT_GT(MachineMemory(root_.path()), uint64_t{1} << 20);
  EXPECT_LE(MachineMemory(), MachineMemory(root_.path()));
}

TEST_F(MachineMemoryTest, AContainerSeesItsOwnGroupAsTheTop) {
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/memory.max", "536870912\n");
  EXPECT_EQ(Limit(), 536870912u);
  EXPECT_EQ(MachineMemory(root_.path()), 536870912u);
}

TEST_F(MachineMemoryTest, AnUnlimitedGroupSaysMax) {
  Write("proc/self/cgroup", "0::/system.slice/densityd.service\n");
  Write("sys/fs/cgroup/system.slice/densityd.service/memory.max", "max\n");
  EXPECT_EQ(Limit(), kNone);
}

TEST_F(MachineMemoryTest, TheTightestGroupOnTheWayUpCounts) {
  Write("proc/self/cgroup", "0::/pod/container\n");
  Write("sys/fs/cgroup/pod/container/memory.max", "4000000\n");
  Write("sys/fs/cgroup/pod/memory.max", "3000000\n");
  EXPECT_EQ(Limit(), 3000000u);
}

TEST_F(MachineMemoryTest, APathOfTheHostThatIsNotMountedLeavesTheTop) {
  Write("proc/self/cgroup", "0::/../../kubepods/abc\n");
  Write("sys/fs/cgroup/memory.max", "2000000\n");
  EXPECT_EQ(Limit(), 2000000u);
}

TEST_F(MachineMemoryTest, VersionOneIsKnownToo) {
  Write("proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n");
  Write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "1000000\n");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Limit(), 1000000u);
}

TEST_F(MachineMemoryTest, NonsenseIsNoLimit) {
  Write("proc/self/cgroup", "nonsense\n0::\n:::\n4:memory:\n");
  Write("sys/fs/cgroup/memory.max", "many\n");
  EXPECT_EQ(Limit(), kNone);
}

}  // namespace
}  // namespace densityd
