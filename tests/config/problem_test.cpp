#include "config/problem.hpp"

#include <string>

#include <gtest/gtest.h>

namespace weir {
namespace {

Problem problem(std::size_t line, std::size_t column) {
  return {.line = line, .column = column, .message = "wrong", .mend = "right"};
}

TEST(Render, ShowsPlaceLineCaretAndMend) {
  const Problems problems{
      {.line = 2, .column = 3, .message = "unknown key 'guarante'", .mend = "did you mean 'guarantee'?"}};
  EXPECT_EQ(render(problems, "policy.yaml", "classes:\n  guarante: 5%\n"),
            "policy.yaml:2:3: unknown key 'guarante'\n"
            "      guarante: 5%\n"
            "      ^\n"
            "  mend: did you mean 'guarantee'?\n");
}

TEST(Render, OrdersByPlace) {
  const std::string out = render({problem(2, 1), problem(1, 5), problem(1, 2)}, "f", "first\nsecond");
  const auto at_1_2 = out.find("f:1:2: wrong\n    first\n     ^\n");
  const auto at_1_5 = out.find("f:1:5: wrong\n    first\n        ^\n");
  const auto at_2_1 = out.find("f:2:1: wrong\n    second\n    ^\n");
  ASSERT_NE(at_2_1, std::string::npos) << out;
  EXPECT_LT(at_1_2, at_1_5);
  EXPECT_LT(at_1_5, at_2_1);
}

TEST(Render, AProblemWithoutPlaceHasNoExcerpt) {
  EXPECT_EQ(render({problem(0, 0)}, "f", "text"), "f: wrong\n  mend: right\n");
}

TEST(Render, APlaceBehindTheTextIsNoHarm) {
  EXPECT_EQ(render({problem(9, 9)}, "f", "text"), "f:9:9: wrong\n  mend: right\n");
  EXPECT_EQ(render({problem(1, 99)}, "f", "text"), "f:1:99: wrong\n    text\n        ^\n  mend: right\n");
  EXPECT_EQ(render({problem(1, 0)}, "f", ""), "f:1:0: wrong\n    \n    ^\n  mend: right\n");
}

TEST(Render, TheCaretStandsUnderItsCharacterBehindTabsAndUmlauts) {
  // Column 6 is the 'x': one tab, two bytes of u-umlaut, two of o-umlaut.
  EXPECT_EQ(render({problem(1, 6)}, "f", "\t\xC3\xBC\xC3\xB6x"),
            "f:1:6: wrong\n    \t\xC3\xBC\xC3\xB6x\n    \t  ^\n  mend: right\n");
}

TEST(Render, ALongLineIsCutAroundTheCaret) {
  const std::string line = std::string(5000, 'a') + "X" + std::string(5000, 'b');
  const std::string out = render({problem(1, 5001)}, "f", line);
  EXPECT_LT(out.size(), 400U);
  const auto excerpt = out.find("...a");
  const auto caret = out.find('^');
  ASSERT_NE(excerpt, std::string::npos) << out;
  const auto line_begin = out.rfind('\n', excerpt) + 1;
  const auto caret_line_begin = out.rfind('\n', caret) + 1;
  EXPECT_EQ(out[line_begin + (caret - caret_line_begin)], 'X') << out;
}

TEST(Render, TheTerminalObeysNothingInTheFile) {
  const std::string out = render({problem(1, 1)}, "f",
                                 "\x1B[2J\x07 \xC2\x9B"
                                 "31m\x7F");
  EXPECT_NE(out.find("    ?[2J? ?31m?\n"), std::string::npos) << out;
}

// The page goes into JSON documents, too, and those are UTF-8.
TEST(Render, WhatIsNoUtf8IsShownAsQuestionMarks) {
  EXPECT_EQ(render({problem(1, 6)}, "f", "f\xFCr \xC3\xBC x"),
            "f:1:6: wrong\n    f?r \xC3\xBC x\n         ^\n  mend: right\n");
}

TEST(Render, WindowsLineEndsAndAByteOrderMarkAreNotShown) {
  EXPECT_EQ(render({problem(1, 2)}, "f",
                   "\xEF\xBB\xBF"
                   "ab\r\ncd\r\n"),
            "f:1:2: wrong\n    ab\n     ^\n  mend: right\n");
}

}  // namespace
}  // namespace weir
