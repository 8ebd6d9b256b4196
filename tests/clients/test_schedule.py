"""Schedules through boto3's scheduler client, and what arrives at a webhook."""
import datetime
import json
import unittest

from botocore.exceptions import ClientError

import kist_server
from accounts import Account
from functions import package
from hook import Hook, kist
from workflow import aws_client

OFF = {"Mode": "OFF"}


class Schedules(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = kist_server.own(cls)
        cls.hook = cls.enterClassContext(Hook())
        cls.arn = kist("target", "add", "clock", cls.hook.url, "--private",
                       server=cls.server).strip()
        cls.api = aws_client("scheduler", cls.server)

    def target(self, **more):
        return {"Arn": self.arn, "RoleArn": "arn:aws:iam::123456789012:role/clock", **more}

    def fails(self, code, call, **args):
        with self.assertRaises(ClientError) as caught:
            call(**args)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)

    def test_rate_with_input(self):
        self.api.create_schedule(Name="rate", ScheduleExpression="rate(1 seconds)",
                                 FlexibleTimeWindow=OFF,
                                 Target=self.target(Input='{"tick": 1}'))
        self.hook.wait_for(lambda all_: sum(b == b'{"tick": 1}' for _, b in all_) >= 2)
        self.api.delete_schedule(Name="rate")
        self.fails("ResourceNotFoundException", self.api.get_schedule, Name="rate")

    def test_at_is_once(self):
        when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
        self.api.create_schedule(Name="once", FlexibleTimeWindow=OFF, Target=self.target(),
                                 ScheduleExpression=f"at({when:%Y-%m-%dT%H:%M:%S})")
        event = self.hook.wait(lambda d: d.get("detail-type") == "Scheduled Event" and
                               d["resources"][0].endswith("default/once"))
        self.assertEqual(event["time"], f"{when:%Y-%m-%dT%H:%M:%SZ}")

    def test_changed_schedule_forgets_its_old_times(self):
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
        later = soon + datetime.timedelta(seconds=1)
        make = lambda call, when, text: call(
            Name="moved", ScheduleExpression=f"at({when:%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow=OFF, Target=self.target(Input=text))
        make(self.api.create_schedule, soon, '{"moved": "old"}')
        make(self.api.update_schedule, later, '{"moved": "new"}')
        self.hook.wait(lambda d: d.get("moved") == "new")
        self.assertNotIn(b'{"moved": "old"}', [body for _, body in self.hook.requests])

    @kist_server.needs_sandboxes
    def test_function(self):
        """A schedule runs a function of the account, if its maker might run it himself."""
        functions, iam = aws_client("lambda", self.server), aws_client("iam", self.server)
        code = package({"tick.py": "def handler(event, context):\n    return event\n"})
        arn = functions.create_function(
            FunctionName="tick", Runtime="python3.11", Role="", Handler="tick.handler",
            Code={"ZipFile": code})["FunctionArn"]
        functions.put_function_event_invoke_config(
            FunctionName="tick", DestinationConfig={"OnSuccess": {"Destination": self.arn}})
        iam.create_user(UserName="clock")
        iam.put_user_policy(UserName="clock", PolicyName="p", PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "scheduler:*",
                                                    "Resource": "*"}}))
        key = iam.create_access_key(UserName="clock")["AccessKey"]
        schedule = {"Name": "tick", "ScheduleExpression": "rate(1 seconds)",
                    "FlexibleTimeWindow": OFF,
                    "Target": {"Arn": arn, "RoleArn": "arn:aws:iam::1:role/r",
                               "Input": '{"tock": 7}'}}
        other = aws_client("scheduler", self.server, key["AccessKeyId"], key["SecretAccessKey"])
        self.fails("AccessDeniedException", other.create_schedule, **schedule)
        self.fails("ValidationException", self.api.create_schedule, **{
            **schedule, "Target": {**schedule["Target"], "Arn": arn + "-none"}})
        self.api.create_schedule(**schedule)
        self.hook.wait(lambda d: d.get("responsePayload") == {"tock": 7})
        self.api.delete_schedule(Name="tick")
        functions.delete_function(FunctionName="tick")

    def test_what_is_told_of_it(self):
        self.api.create_schedule_group(Name="group")
        self.api.create_schedule(
            Name="told", GroupName="group", ScheduleExpression="cron(0 12 * * ? *)",
            ScheduleExpressionTimezone="Europe/Berlin", State="DISABLED", Description="noon",
            FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5},
            StartDate=datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc),
            Target=self.target(RetryPolicy={"MaximumRetryAttempts": 3,
                                            "MaximumEventAgeInSeconds": 120}))
        told = self.api.get_schedule(Name="told", GroupName="group")
        self.assertEqual(
            (told["ScheduleExpression"], told["ScheduleExpressionTimezone"], told["State"],
             told["Description"], told["FlexibleTimeWindow"]["MaximumWindowInMinutes"],
             told["Target"]["RetryPolicy"], told["StartDate"].year),
            ("cron(0 12 * * ? *)", "Europe/Berlin", "DISABLED", "noon", 5,
             {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 120}, 2030))
        names = [s["Name"] for s in self.api.list_schedules(GroupName="group")["Schedules"]]
        self.assertEqual(names, ["told"])
        groups = [g["Name"] for g in self.api.list_schedule_groups()["ScheduleGroups"]]
        self.assertEqual(groups, ["default", "group"])
        self.api.delete_schedule_group(Name="group")
        self.fails("ResourceNotFoundException", self.api.get_schedule, Name="told",
                   GroupName="group")

    def test_who_may(self):
        """Who makes a schedule must be allowed what it does."""
        user = Account(self.server, kist_server.ACCESS_KEY, kist_server.SECRET_KEY).user(
            "clock-maker", {"Effect": "Allow", "Action": "scheduler:*", "Resource": "*"})
        api = user.client("scheduler")
        more = {"ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": OFF}
        self.fails("AccessDeniedException", api.create_schedule, Name="mine",
                   Target=self.target(), **more)
        boss = Account(self.server, kist_server.ACCESS_KEY, kist_server.SECRET_KEY)
        boss.iam.put_user_policy(UserName="clock-maker", PolicyName="q", PolicyDocument=json.dumps({
            "Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": self.arn}}))
        api.create_schedule(Name="mine", Target=self.target(), **more)
        other = self.arn.replace(boss.id, "000000000000")
        self.fails("ValidationException", self.api.create_schedule, Name="theirs",
                   Target=self.target(Arn=other), **more)

    @kist_server.needs_sandboxes
    def test_invokes_a_function(self):
        api = aws_client("lambda", self.server)
        code = package({"app.py": "def handler(event, context):\n    return event\n"})
        arn = api.create_function(FunctionName="ticked", Runtime="python3.11", Role="",
                                  Handler="app.handler",
                                  Code={"ZipFile": code})["FunctionArn"]
        api.put_function_event_invoke_config(
            FunctionName="ticked", DestinationConfig={"OnSuccess": {"Destination": self.arn}})
        self.api.create_schedule(Name="ticks", ScheduleExpression="rate(1 seconds)",
                                 FlexibleTimeWindow=OFF,
                                 Target={"Arn": arn, "RoleArn": "arn:aws:iam::1:role/r",
                                         "Input": '{"from": "clock"}'})
        self.hook.wait(lambda d: d.get("responsePayload") == {"from": "clock"})
        self.api.delete_schedule(Name="ticks")

    def test_pages(self):
        for i in range(5):
            self.api.create_schedule(Name=f"page-{i}", ScheduleExpression="rate(1 day)",
                                     FlexibleTimeWindow=OFF, Target=self.target())
        pages = list(self.api.get_paginator("list_schedules").paginate(
            NamePrefix="page-", PaginationConfig={"PageSize": 2}))
        self.assertEqual([s["Name"] for p in pages for s in p["Schedules"]],
                         [f"page-{i}" for i in range(5)])

    def test_bad_requests(self):
        good = {"Name": "bad", "ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": OFF,
                "Target": self.target()}
        for change in ({"ScheduleExpression": "rate(0 days)"},
                       {"ScheduleExpression": "cron(* * * * * *)"},
                       {"ScheduleExpressionTimezone": "Mars/Olympus"},
                       {"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}},
                       {"Target": self.target(Arn=self.arn + "-none")},
                       {"Target": self.target(Input="x" * 300000)}):
            self.fails("ValidationException", self.api.create_schedule, **{**good, **change})
        self.fails("ResourceNotFoundException", self.api.update_schedule, **good)
        self.fails("ResourceNotFoundException", self.api.create_schedule, GroupName="none", **good)
        self.api.create_schedule(**good)
        self.fails("ConflictException", self.api.create_schedule, **good)

    def test_times_that_no_server_was_there_for(self):
        with kist_server.Server() as other, Hook() as hook:
            arn = kist("target", "add", "clock", hook.url, "--private", server=other).strip()
            api = aws_client("scheduler", other)
            when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
            api.create_schedule(Name="missed", FlexibleTimeWindow=OFF,
                                ScheduleExpression=f"at({when:%Y-%m-%dT%H:%M:%S})",
                                Target={"Arn": arn, "RoleArn": "arn:aws:iam::1:role/r",
                                        "Input": '{"late": true}'})
            other.kill()
            while datetime.datetime.now(datetime.timezone.utc) < when:
                pass
            other.restart()
            hook.wait(lambda d: d.get("late"))


if __name__ == "__main__":
    unittest.main()
